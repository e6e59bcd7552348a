// The CUDA kernel as it is compiled for compute capability 7.5, for the emulator.
#define MMR_TARGET 750
#define MMR_ENTRY emulate_750
#define MMR_SIMILARITY_BUDGET (1 << 15)  // so that small tests come to where S doesn't fit
#include "../cuda/mmr_cuda.cu"

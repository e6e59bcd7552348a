// The CUDA kernel as it is compiled for compute capability 7.5, for the emulator.
#define MMR_TARGET 750
#define MMR_ENTRY emulate_750
#include "../mmr_cuda.cu"

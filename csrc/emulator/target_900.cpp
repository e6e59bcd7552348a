// The CUDA kernel as it is compiled for compute capability 9.0, for the emulator.
#define MMR_TARGET 900
#define MMR_ENTRY emulate_900
#include "../cuda/mmr_cuda.cu"

// Every kernel in one module: what nvcc and NVRTC compile for a GPU.
#include "preprocess.cu"
#include "select_projection.cu"

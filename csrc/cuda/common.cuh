// Launch configuration shared by the CUDA kernels.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "launchers.h"

namespace flashmd::cuda {

constexpr int kThreads = 256;

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

// Blocks for one thread per item; kernels stride over the grid, so the cap loses nothing.
inline unsigned blocks_for(int64_t n_items, int per_block = kThreads) {
  const int64_t blocks = (n_items + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < (int64_t{1} << 30) ? blocks : int64_t{1} << 30);
}

__device__ inline int64_t global_thread() {
  return int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ inline int64_t grid_size() {
  return int64_t{gridDim.x} * blockDim.x;
}

}  // namespace flashmd::cuda

// Launch kernel(arguments...) on n_items threads and report launch errors. Nothing is launched for no items.
#define FLASHMD_LAUNCH(kernel, n_items, stream, ...)                               \
  do {                                                                             \
    if ((n_items) > 0) {                                                           \
      kernel<<<::flashmd::cuda::blocks_for(n_items), ::flashmd::cuda::kThreads, 0, \
               static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__);                  \
      ::flashmd::cuda::check(cudaGetLastError());                                  \
    }                                                                              \
  } while (false)

// What kernels share. Kernel headers (*.cuh) hold device code only: nvcc compiles them into the library, NVRTC where
// the library was built without nvcc, and g++ in the tests.
#pragma once

#if defined(FLASHMD_EMULATED) || defined(FLASHMD_RUNTIME)
#include "emulate.h"
#endif

#include "../include/graph.h"

namespace flashmd::cuda {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int64_t kNoLimit = int64_t{1} << 62;

__device__ inline int64_t global_thread() {
  return int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ inline int64_t grid_size() {
  return int64_t{gridDim.x} * blockDim.x;
}

}  // namespace flashmd::cuda

// The shared memory whose size the launch gives, as an array of T.
#if defined(FLASHMD_EMULATED) || defined(FLASHMD_RUNTIME)
#define FLASHMD_DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(::flashmd::emulate::dynamic_shared.data())
#else
#define FLASHMD_DYNAMIC_SHARED(T, name)                       \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  T* name = reinterpret_cast<T*>(name##_raw)
#endif

// Launching kernels: the one place that knows who runs them. That is the CUDA runtime in a build with nvcc, the driver
// and a run-time compiler in one without (FLASHMD_RUNTIME), and the host in tests (FLASHMD_EMULATED).
#pragma once

#if defined(FLASHMD_RUNTIME)
#include "runtime.h"
#elif defined(FLASHMD_EMULATED)
#include "kernel_name.h"
#else
#include <cuda_runtime.h>
#endif

#include <stdexcept>
#include <string>

#include "device.cuh"
#include "launchers.h"

namespace flashmd::cuda {

struct Shape {
  unsigned n_blocks;
  unsigned n_threads = kThreads;
  size_t shared_bytes = 0;
};

// Blocks for one thread per item; kernels stride over the grid, so the cap loses nothing.
inline Shape threads_for(int64_t n_items) {
  const int64_t blocks = (n_items + kThreads - 1) / kThreads;
  return {static_cast<unsigned>(blocks < (int64_t{1} << 30) ? blocks : int64_t{1} << 30)};
}

#ifdef FLASHMD_EMULATED

// Remembers a kernel, so that a test can compile all there are.
template <auto kKernel>
inline const bool kListed = emulate::list_kernel(FLASHMD_FAMILY, kernel_name<kKernel>());

template <auto kKernel, typename... A>
void launch(const Shape& shape, Stream, const A&... arguments) {
  static_cast<void>(kListed<kKernel>);
  emulate::launch(shape.n_blocks, shape.n_threads, shape.shared_bytes, [&] { kKernel(arguments...); });
}

inline void copy_to_host(void* target, const void* source, size_t n_bytes, Stream) {
  memcpy(target, source, n_bytes);
}

#elif defined(FLASHMD_RUNTIME)

template <auto kKernel, typename... A>
void launch(const Shape& shape, Stream stream, const A&... arguments) {
  if (shape.n_blocks == 0) return;
  runtime::launch_with<kKernel>(FLASHMD_FAMILY, kKernel, shape.n_blocks, shape.n_threads, shape.shared_bytes, stream,
                                arguments...);
}

inline void copy_to_host(void* target, const void* source, size_t n_bytes, Stream stream) {
  runtime::copy_to_host(target, source, n_bytes, stream);
}

#else

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

// Launch a kernel and report launch errors; nothing is launched for no blocks.
template <auto kKernel, typename... A>
void launch(const Shape& shape, Stream stream, const A&... arguments) {
  if (shape.n_blocks == 0) return;
  constexpr size_t kFree = 48 * 1024;  // more than this has to be asked for
  if (shape.shared_bytes > kFree) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kKernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)));
  }
  kKernel<<<shape.n_blocks, shape.n_threads, shape.shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
  check(cudaGetLastError());
}

// Copy and wait for the copy.
inline void copy_to_host(void* target, const void* source, size_t n_bytes, Stream stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  check(cudaMemcpyAsync(target, source, n_bytes, cudaMemcpyDeviceToHost, queue));
  check(cudaStreamSynchronize(queue));
}

#endif

}  // namespace flashmd::cuda

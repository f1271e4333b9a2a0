// Launches in a build without nvcc: kernels are compiled when they are first launched, from the same sources, by
// flashmd/ops/nvrtc.py. g++ reads these sources for the names and parameters of the kernels only.
#pragma once

#include <tuple>

#include "kernel_name.h"
#include "launchers.h"

// What the run-time compiler and the CUDA driver do for the launchers. Functions of the driver have its signatures.
extern "C" struct FlashmdDriver {
  // Write the handle of a kernel of <family>.cuh, or a text that says why there is none; return 0 where it is there.
  int (*load)(const char* family, const char* name, void** function, char* problem, int size);
  int (*current_device)(int* device);
  int (*launch)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                unsigned block_z, unsigned shared_bytes, void* stream, void** parameters, void** extra);
  int (*set_attribute)(void* function, int attribute, int value);
  int (*copy_to_host)(void* target, uint64_t source, size_t n_bytes, void* stream);
  int (*synchronize)(void* stream);
};
extern "C" __attribute__((visibility("default"))) void flashmd_set_driver(const FlashmdDriver* driver);

namespace flashmd::cuda::runtime {

struct Kernel {
  const char* family;
  std::string_view name;
};

void launch(const Kernel& kernel, unsigned n_blocks, unsigned n_threads, size_t shared_bytes, Stream stream,
            void** parameters);
void copy_to_host(void* target, const void* source, size_t n_bytes, Stream stream);

// Pass the arguments as the kernel's parameters are declared.
template <auto kKernel, typename... P, typename... A>
void launch_with(const char* family, void (*)(P...), unsigned n_blocks, unsigned n_threads, size_t shared_bytes,
                 Stream stream, const A&... arguments) {
  std::tuple<P...> values(static_cast<P>(arguments)...);
  std::apply(
      [&](P&... each) {
        void* parameters[] = {static_cast<void*>(&each)...};
        launch({family, kernel_name<kKernel>()}, n_blocks, n_threads, shared_bytes, stream, parameters);
      },
      values);
}

}  // namespace flashmd::cuda::runtime

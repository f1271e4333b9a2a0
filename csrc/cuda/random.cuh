// Counter-based random numbers: one thread for each block of four numbers.
#pragma once

#include "../include/philox.h"
#include "device.cuh"

namespace flashmd::cuda {

template <typename T, bool kNormal>
__global__ void random_kernel(RandomRequest request, int64_t n_blocks, T* out) {
  for (int64_t item = global_thread(); item < request.n_rows * n_blocks; item += grid_size()) {
    const int64_t row = item / n_blocks, block = item % n_blocks;
    uint32_t words[4];
    double numbers[4];
    philox(request.seed, static_cast<uint64_t>(request.stream[row]), request.counter, static_cast<uint32_t>(block),
           words);
    if constexpr (kNormal) {
      normals_from_words(words[0], words[1], numbers[0], numbers[1]);
      normals_from_words(words[2], words[3], numbers[2], numbers[3]);
    } else {
      for (int w = 0; w < 4; ++w) numbers[w] = uniform_from_word(words[w]);
    }
    for (int64_t w = 0; w < 4 && 4 * block + w < request.n_columns; ++w) {
      out[row * request.n_columns + 4 * block + w] =
          kNormal ? static_cast<T>(numbers[w]) : narrow_uniform<T>(numbers[w]);
    }
  }
}

}  // namespace flashmd::cuda

// Sums over consecutive rows and their transpose: one thread for each element of the smaller tensor, in order.
#pragma once

#include "device.cuh"

namespace flashmd::cuda {

template <typename T>
__global__ void sum_kernel(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out) {
  for (int64_t item = global_thread(); item < n_segments * n_channels; item += grid_size()) {
    const int64_t segment = item / n_channels, channel = item % n_channels;
    T sum = T(0);
    for (int64_t row = ptr[segment]; row < ptr[segment + 1]; ++row) sum += values[row * n_channels + channel];
    out[item] = sum;
  }
}

template <typename T>
__global__ void expand_kernel(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out) {
  for (int64_t item = global_thread(); item < n_segments * n_channels; item += grid_size()) {
    const int64_t segment = item / n_channels, channel = item % n_channels;
    for (int64_t row = ptr[segment]; row < ptr[segment + 1]; ++row) out[row * n_channels + channel] = values[item];
  }
}

}  // namespace flashmd::cuda

// Reductions over the edges of an atom and products over the ends of an edge: one thread for each element of the
// result, neighbouring threads on neighbouring channels, so that reads coalesce. Sums run in the order of the CPU
// kernels and need no atomics.
#pragma once

#include "device.cuh"

namespace flashmd::cuda {

template <typename T>
__global__ void cfconv_kernel(const T* features, const T* filters, Rows rows, int64_t n_atoms, int64_t n_channels,
                              T* out) {
  for (int64_t item = global_thread(); item < n_atoms * n_channels; item += grid_size()) {
    const int64_t row = item / n_channels, channel = item % n_channels;
    T sum = T(0);
    for (int64_t k = rows.begin[row]; k < rows.begin[row + 1]; ++k) {
      const int64_t edge = rows.edge_id ? rows.edge_id[k] : k;
      sum += features[rows.other[edge] * n_channels + channel] * filters[edge * n_channels + channel];
    }
    out[item] = sum;
  }
}

template <typename T>
__global__ void product_kernel(const T* left, const T* right, Graph graph, int64_t n_channels, T* out) {
  for (int64_t item = global_thread(); item < graph.n_edges * n_channels; item += grid_size()) {
    const int64_t edge = item / n_channels, channel = item % n_channels;
    out[item] = left[graph.receiver[edge] * n_channels + channel] * right[graph.sender[edge] * n_channels + channel];
  }
}

template <typename T>
__global__ void difference_kernel(const T* values, Graph graph, int64_t n_channels, T* out) {
  for (int64_t item = global_thread(); item < graph.n_edges * n_channels; item += grid_size()) {
    const int64_t edge = item / n_channels, channel = item % n_channels;
    out[item] = values[graph.sender[edge] * n_channels + channel] - values[graph.receiver[edge] * n_channels + channel];
  }
}

template <typename T>
__global__ void divergence_kernel(const T* values, Graph graph, int64_t n_channels, T* out) {
  for (int64_t item = global_thread(); item < graph.n_atoms * n_channels; item += grid_size()) {
    const int64_t atom = item / n_channels, channel = item % n_channels;
    T sum = T(0);
    for (int64_t k = graph.col_ptr[atom]; k < graph.col_ptr[atom + 1]; ++k) {
      sum += values[graph.transpose[k] * n_channels + channel];
    }
    for (int64_t k = graph.row_ptr[atom]; k < graph.row_ptr[atom + 1]; ++k) sum -= values[k * n_channels + channel];
    out[item] = sum;
  }
}

}  // namespace flashmd::cuda

// Reductions over the edges of an atom and products over the ends of an edge: one thread for each element of the
// result, neighbouring threads on neighbouring channels, so that reads coalesce. Sums run in the order of the CPU
// kernels and need no atomics.

#include "common.cuh"

namespace flashmd::cuda {
namespace {

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

}  // namespace

template <typename T>
void cfconv(const T* features, const T* filters, const Rows& rows, int64_t n_atoms, int64_t n_channels, T* out,
            Stream stream) {
  FLASHMD_LAUNCH(cfconv_kernel<T>, n_atoms * n_channels, stream, features, filters, rows, n_atoms, n_channels, out);
}

template <typename T>
void edge_product(const T* left, const T* right, const Graph& graph, int64_t n_channels, T* out, Stream stream) {
  FLASHMD_LAUNCH(product_kernel<T>, graph.n_edges * n_channels, stream, left, right, graph, n_channels, out);
}

template <typename T>
void edge_difference(const T* values, const Graph& graph, int64_t n_channels, T* out, Stream stream) {
  FLASHMD_LAUNCH(difference_kernel<T>, graph.n_edges * n_channels, stream, values, graph, n_channels, out);
}

template <typename T>
void edge_divergence(const T* values, const Graph& graph, int64_t n_channels, T* out, Stream stream) {
  FLASHMD_LAUNCH(divergence_kernel<T>, graph.n_atoms * n_channels, stream, values, graph, n_channels, out);
}

#define FLASHMD_INSTANTIATE(T)                                                         \
  template void cfconv(const T*, const T*, const Rows&, int64_t, int64_t, T*, Stream); \
  template void edge_product(const T*, const T*, const Graph&, int64_t, T*, Stream);   \
  template void edge_difference(const T*, const Graph&, int64_t, T*, Stream);          \
  template void edge_divergence(const T*, const Graph&, int64_t, T*, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

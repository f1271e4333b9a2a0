#include "message_passing.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void cfconv(const T* features, const T* filters, const Rows& rows, int64_t n_atoms, int64_t n_channels, T* out,
            Stream stream) {
  launch<cfconv_kernel<T>>(threads_for(n_atoms * n_channels), stream, features, filters, rows, n_atoms, n_channels,
                           out);
}

template <typename T>
void edge_product(const T* left, const T* right, const Graph& graph, int64_t n_channels, T* out, Stream stream) {
  launch<product_kernel<T>>(threads_for(graph.n_edges * n_channels), stream, left, right, graph, n_channels, out);
}

template <typename T>
void edge_difference(const T* values, const Graph& graph, int64_t n_channels, T* out, Stream stream) {
  launch<difference_kernel<T>>(threads_for(graph.n_edges * n_channels), stream, values, graph, n_channels, out);
}

template <typename T>
void edge_divergence(const T* values, const Graph& graph, int64_t n_channels, T* out, Stream stream) {
  launch<divergence_kernel<T>>(threads_for(graph.n_atoms * n_channels), stream, values, graph, n_channels, out);
}

#define FLASHMD_INSTANTIATE(T)                                                         \
  template void cfconv(const T*, const T*, const Rows&, int64_t, int64_t, T*, Stream); \
  template void edge_product(const T*, const T*, const Graph&, int64_t, T*, Stream);   \
  template void edge_difference(const T*, const Graph&, int64_t, T*, Stream);          \
  template void edge_divergence(const T*, const Graph&, int64_t, T*, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

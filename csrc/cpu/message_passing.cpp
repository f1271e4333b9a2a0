// Reductions over the edges of an atom and products over the ends of an edge.

#include "kernels.h"
#include "parallel.h"

namespace flashmd::cpu {
namespace {

template <typename T>
FLASHMD_INLINE void cfconv_rows(const T* features, const T* filters, const Rows& rows, int64_t n_channels,
                                int64_t begin, int64_t end, T* out) {
  for (int64_t row = begin; row < end; ++row) {
    T* __restrict sum = out + row * n_channels;
    for (int64_t f = 0; f < n_channels; ++f) sum[f] = T(0);
    for (int64_t k = rows.begin[row]; k < rows.begin[row + 1]; ++k) {
      const int64_t edge = rows.edge_id ? rows.edge_id[k] : k;
      const T* __restrict x = features + rows.other[edge] * n_channels;
      const T* __restrict w = filters + edge * n_channels;
      for (int64_t f = 0; f < n_channels; ++f) sum[f] += x[f] * w[f];
    }
  }
}

template <typename T>
FLASHMD_INLINE void product_rows(const T* left, const T* right, const Graph& graph, int64_t n_channels, int64_t begin,
                                 int64_t end, T* out) {
  for (int64_t edge = begin; edge < end; ++edge) {
    const T* __restrict l = left + graph.receiver[edge] * n_channels;
    const T* __restrict r = right + graph.sender[edge] * n_channels;
    T* __restrict p = out + edge * n_channels;
    for (int64_t f = 0; f < n_channels; ++f) p[f] = l[f] * r[f];
  }
}

// Templates cannot be cloned for several instruction sets, plain functions can.
#define FLASHMD_INSTANTIATE(T)                                                                                  \
  FLASHMD_CLONES void cfconv_range(const T* x, const T* w, const Rows& rows, int64_t n_channels, int64_t begin, \
                                   int64_t end, T* out) {                                                       \
    cfconv_rows(x, w, rows, n_channels, begin, end, out);                                                       \
  }                                                                                                             \
  FLASHMD_CLONES void product_range(const T* left, const T* right, const Graph& graph, int64_t n_channels,      \
                                    int64_t begin, int64_t end, T* out) {                                       \
    product_rows(left, right, graph, n_channels, begin, end, out);                                              \
  }
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace

template <typename T>
void cfconv(const T* features, const T* filters, const Rows& rows, const Graph& graph, int64_t n_channels, T* out) {
  const int64_t grain = grain_for(graph.n_atoms, (graph.n_edges + graph.n_atoms) * n_channels);
  parallel_for(graph.n_atoms, grain,
               [&](int64_t begin, int64_t end) { cfconv_range(features, filters, rows, n_channels, begin, end, out); });
}

template <typename T>
void edge_product(const T* left, const T* right, const Graph& graph, int64_t n_channels, T* out) {
  parallel_for(graph.n_edges, grain_for(graph.n_edges, graph.n_edges * n_channels),
               [&](int64_t begin, int64_t end) { product_range(left, right, graph, n_channels, begin, end, out); });
}

template <typename T>
void edge_difference(const T* values, const Graph& graph, int64_t n_channels, T* out) {
  parallel_for(graph.n_edges, grain_for(graph.n_edges, graph.n_edges * n_channels), [&](int64_t begin, int64_t end) {
    for (int64_t edge = begin; edge < end; ++edge) {
      const T* to = values + graph.receiver[edge] * n_channels;
      const T* from = values + graph.sender[edge] * n_channels;
      for (int64_t f = 0; f < n_channels; ++f) out[edge * n_channels + f] = from[f] - to[f];
    }
  });
}

template <typename T>
void edge_divergence(const T* values, const Graph& graph, int64_t n_channels, T* out) {
  const int64_t grain = grain_for(graph.n_atoms, (2 * graph.n_edges + graph.n_atoms) * n_channels);
  parallel_for(graph.n_atoms, grain, [&](int64_t begin, int64_t end) {
    for (int64_t atom = begin; atom < end; ++atom) {
      T* sum = out + atom * n_channels;
      for (int64_t f = 0; f < n_channels; ++f) sum[f] = T(0);
      for (int64_t k = graph.col_ptr[atom]; k < graph.col_ptr[atom + 1]; ++k) {
        const T* value = values + graph.transpose[k] * n_channels;
        for (int64_t f = 0; f < n_channels; ++f) sum[f] += value[f];
      }
      for (int64_t k = graph.row_ptr[atom]; k < graph.row_ptr[atom + 1]; ++k) {
        for (int64_t f = 0; f < n_channels; ++f) sum[f] -= values[k * n_channels + f];
      }
    }
  });
}

#define FLASHMD_INSTANTIATE(T)                                                      \
  template void cfconv(const T*, const T*, const Rows&, const Graph&, int64_t, T*); \
  template void edge_product(const T*, const T*, const Graph&, int64_t, T*);        \
  template void edge_difference(const T*, const Graph&, int64_t, T*);               \
  template void edge_divergence(const T*, const Graph&, int64_t, T*);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace flashmd::cpu

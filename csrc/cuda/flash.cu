#include "flash.cuh"

#include "launch.h"

namespace flashmd::cuda {
namespace {

template <typename T>
Shape flash_shape(const FlashFilters<T>& problem, int64_t n_pairs, bool slopes) {
  const int64_t layers = (problem.n_filters + problem.n_basis) * (slopes ? 2 : 1);
  return {static_cast<unsigned>((n_pairs + kFlashRows - 1) / kFlashRows), kThreads,
          static_cast<size_t>(layers) * kFlashStride * sizeof(T)};
}

}  // namespace

template <typename T>
void flash_filters(const FlashFilters<T>& problem, int64_t begin, int64_t end, T* filters, Stream stream) {
  const T* none = nullptr;
  T* no_slopes = nullptr;
  launch<flash_kernel<T, false>>(flash_shape(problem, end - begin, false), stream, problem, none, none, begin, end,
                                 filters, no_slopes);
}

template <typename T>
void flash_slopes(const FlashFilters<T>& problem, const T* grad, const T* features, int64_t begin, int64_t end,
                  T* filters, T* slopes, Stream stream) {
  launch<flash_kernel<T, true>>(flash_shape(problem, end - begin, true), stream, problem, grad, features, begin, end,
                                filters, slopes);
}

template <typename T>
void flash_messages(const Graph& graph, const T* filters, const T* features, int64_t begin, int64_t end,
                    int64_t n_filters, T* out, Stream stream) {
  launch<flash_message_kernel<T>>(threads_for(graph.n_atoms * n_filters), stream, graph, filters, features, begin, end,
                                  n_filters, out);
}

#define FLASHMD_INSTANTIATE(T)                                                                              \
  template void flash_filters(const FlashFilters<T>&, int64_t, int64_t, T*, Stream);                        \
  template void flash_slopes(const FlashFilters<T>&, const T*, const T*, int64_t, int64_t, T*, T*, Stream); \
  template void flash_messages(const Graph&, const T*, const T*, int64_t, int64_t, int64_t, T*, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

#include "segment.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void segment_sum(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out, Stream stream) {
  launch<sum_kernel<T>>(threads_for(n_segments * n_channels), stream, values, ptr, n_segments, n_channels, out);
}

template <typename T>
void segment_expand(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out,
                    Stream stream) {
  launch<expand_kernel<T>>(threads_for(n_segments * n_channels), stream, values, ptr, n_segments, n_channels, out);
}

#define FLASHMD_INSTANTIATE(T)                                                       \
  template void segment_sum(const T*, const int64_t*, int64_t, int64_t, T*, Stream); \
  template void segment_expand(const T*, const int64_t*, int64_t, int64_t, T*, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

// Sums over consecutive rows and their transpose.

#include "kernels.h"
#include "parallel.h"

namespace flashmd::cpu {

template <typename T>
void segment_sum(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out) {
  const int64_t work = n_segments > 0 ? (ptr[n_segments] + n_segments) * n_channels : 0;
  parallel_for(n_segments, grain_for(n_segments, work), [&](int64_t begin, int64_t end) {
    for (int64_t segment = begin; segment < end; ++segment) {
      T* __restrict sum = out + segment * n_channels;
      for (int64_t f = 0; f < n_channels; ++f) sum[f] = T(0);
      for (int64_t row = ptr[segment]; row < ptr[segment + 1]; ++row) {
        for (int64_t f = 0; f < n_channels; ++f) sum[f] += values[row * n_channels + f];
      }
    }
  });
}

template <typename T>
void segment_expand(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out) {
  const int64_t work = n_segments > 0 ? (ptr[n_segments] + n_segments) * n_channels : 0;
  parallel_for(n_segments, grain_for(n_segments, work), [&](int64_t begin, int64_t end) {
    for (int64_t segment = begin; segment < end; ++segment) {
      const T* value = values + segment * n_channels;
      for (int64_t row = ptr[segment]; row < ptr[segment + 1]; ++row) {
        for (int64_t f = 0; f < n_channels; ++f) out[row * n_channels + f] = value[f];
      }
    }
  });
}

#define FLASHMD_INSTANTIATE(T)                                               \
  template void segment_sum(const T*, const int64_t*, int64_t, int64_t, T*); \
  template void segment_expand(const T*, const int64_t*, int64_t, int64_t, T*);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace flashmd::cpu

#include "spline_training.cuh"

#include "launch.h"

namespace flashmd::cuda {
namespace {

int64_t slices_of(int64_t n_channels) {
  return (n_channels + kWarp - 1) / kWarp;
}

}  // namespace

template <typename T>
void spline_gather(const SplineTerms<T>& terms, const T* plain, const T* changed, T* out, Stream stream) {
  const int64_t n_slices = slices_of(terms.n_channels);
  launch<spline_gather_kernel<T>>(threads_for(terms.pairs.n_atoms * n_slices * kWarp), stream, terms, n_slices, plain,
                                  changed, out);
}

template <typename T>
void spline_to_fraction(const SplineTerms<T>& terms, T* out, Stream stream) {
  launch<spline_fraction_kernel<T>>(threads_for(terms.pairs.n_pairs * kWarp), stream, terms, out);
}

template <typename T>
void spline_to_table(const SplineTerms<T>& terms, T* values, T* slopes, Stream stream) {
  const int64_t n_slices = slices_of(terms.n_channels);
  launch<spline_table_kernel<T>>(threads_for(terms.n_knots * n_slices * kWarp), stream, terms, n_slices, values,
                                 slopes);
}

#define FLASHMD_INSTANTIATE(T)                                                        \
  template void spline_gather(const SplineTerms<T>&, const T*, const T*, T*, Stream); \
  template void spline_to_fraction(const SplineTerms<T>&, T*, Stream);                \
  template void spline_to_table(const SplineTerms<T>&, T*, T*, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

#include "basis.cuh"

#include "launch.h"

namespace flashmd::cuda {
namespace {

template <typename T, typename F>
void launch_sums(const F& terms, const BasisSums<T>& sums, Stream stream) {
  const int64_t n_blocks = basis_blocks(terms.input.n_rows), size = 2 * terms.input.n_basis;
  launch<basis_sum_kernel<T, F>>({static_cast<unsigned>(n_blocks)}, stream, terms, sums);
  if (sums.parameters) launch<basis_combine_kernel<T>>(threads_for(size), stream, sums, n_blocks, size);
}

}  // namespace

template <typename T>
void radial_basis(const BasisInput<T>& input, T* out, Stream stream) {
  launch<basis_kernel<T>>({static_cast<unsigned>(basis_blocks(input.n_rows))}, stream, input, out);
}

template <typename T>
void radial_basis_backward(const BasisInput<T>& input, const T* grad, const BasisSums<T>& sums, Stream stream) {
  launch_sums(GradientTerms<T>{input, grad}, sums, stream);
}

template <typename T>
void radial_basis_double_backward(const BasisInput<T>& input, const BasisDirection<T>& direction, const T* grad,
                                  T* along, const BasisSums<T>& sums, Stream stream) {
  launch_sums(CurvatureTerms<T>{input, grad, direction, along}, sums, stream);
}

#define FLASHMD_INSTANTIATE(T)                                                                             \
  template void radial_basis(const BasisInput<T>&, T*, Stream);                                            \
  template void radial_basis_backward(const BasisInput<T>&, const T*, const BasisSums<T>&, Stream);        \
  template void radial_basis_double_backward(const BasisInput<T>&, const BasisDirection<T>&, const T*, T*, \
                                             const BasisSums<T>&, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

// Radial basis functions in one pass. A block takes a fixed range of rows: it computes what the functions of a row
// share once, then one thread computes one function. Sums over the functions of a row are those of a warp, sums over
// rows those of a thread and then over blocks, all in a fixed order.
#pragma once

#include "basis.h"
#include "device.cuh"

namespace flashmd::cuda {

template <typename T>
__device__ void share_rows(const BasisInput<T>& input, int64_t begin, int64_t end, BasisRow<T>* shared) {
  for (int64_t row = begin + threadIdx.x; row < end; row += blockDim.x) {
    shared[row - begin] = basis_row(input.form, input.distance[row]);
  }
  __syncthreads();
}

template <typename T>
__global__ void basis_kernel(BasisInput<T> input, T* out) {
  __shared__ BasisRow<T> shared[kBasisRows];
  const int64_t begin = blockIdx.x * kBasisRows;
  const int64_t end = begin + kBasisRows < input.n_rows ? begin + kBasisRows : input.n_rows;
  share_rows(input, begin, end, shared);
  for (int64_t item = threadIdx.x; item < (end - begin) * input.n_basis; item += blockDim.x) {
    const int64_t row = item / input.n_basis, k = item % input.n_basis;
    out[begin * input.n_basis + item] = basis_value(shared[row], input.centres[k], input.widths[k]);
  }
}

// The numbers whose sums a derivative consists of: those of the gradient, or those of its derivative along a direction.
template <typename T>
struct GradientTerms {
  BasisInput<T> input;
  const T* grad;
  __device__ BasisTerms<T> operator()(const BasisRow<T>& shared, int64_t, int64_t k) const {
    return basis_gradient(shared, input.centres[k], input.widths[k]);
  }
  __device__ void keep(int64_t, int64_t, T) const {}
};

template <typename T>
struct CurvatureTerms {
  BasisInput<T> input;
  const T* grad;
  BasisDirection<T> direction;
  T* along;
  __device__ BasisTerms<T> operator()(const BasisRow<T>& shared, int64_t row, int64_t k) const {
    const BasisTerms<T> way{T(0), direction.distance[row], direction.centres[k], direction.widths[k]};
    return basis_curvature(shared, input.centres[k], input.widths[k], way);
  }
  __device__ void keep(int64_t row, int64_t k, T value) const { along[row * input.n_basis + k] = value; }
};

template <typename T, typename F>
__global__ void basis_sum_kernel(F terms, BasisSums<T> sums) {
  __shared__ BasisRow<T> shared[kBasisRows];
  const BasisInput<T>& input = terms.input;
  const int64_t n_basis = input.n_basis;
  const int64_t begin = blockIdx.x * kBasisRows;
  const int64_t end = begin + kBasisRows < input.n_rows ? begin + kBasisRows : input.n_rows;
  share_rows(input, begin, end, shared);
  const int lane = threadIdx.x % kWarp;
  for (int64_t row = begin + threadIdx.x / kWarp; row < end; row += blockDim.x / kWarp) {
    T total = T(0);
    for (int64_t k = lane; k < n_basis; k += kWarp) {
      const BasisTerms<T> term = terms(shared[row - begin], row, k);
      terms.keep(row, k, term.value);
      total += terms.grad[row * n_basis + k] * term.distance;
    }
    for (int step = kWarp / 2; step > 0; step /= 2) total += __shfl_xor_sync(kAllLanes, total, step);
    if (lane == 0) sums.distance[row] = total;
  }
  if (!sums.parameters) return;
  for (int64_t k = threadIdx.x; k < n_basis; k += blockDim.x) {
    T by_centre = T(0), by_width = T(0);
    for (int64_t row = begin; row < end; ++row) {
      const BasisTerms<T> term = terms(shared[row - begin], row, k);
      by_centre += terms.grad[row * n_basis + k] * term.centre;
      by_width += terms.grad[row * n_basis + k] * term.width;
    }
    sums.partial[(2 * blockIdx.x) * n_basis + k] = by_centre;
    sums.partial[(2 * blockIdx.x + 1) * n_basis + k] = by_width;
  }
}

template <typename T>
__global__ void basis_combine_kernel(BasisSums<T> sums, int64_t n_blocks, int64_t size) {
  for (int64_t item = global_thread(); item < size; item += grid_size()) {
    T total = T(0);
    for (int64_t block = 0; block < n_blocks; ++block) total += sums.partial[block * size + item];
    sums.parameters[item] = total;
  }
}

}  // namespace flashmd::cuda

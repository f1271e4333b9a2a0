// The filter network of 32 pairs in a block: basis and hidden layer stay in shared memory, every thread carries one
// channel of sixteen pairs through a layer. With slopes, each layer has its derivative along the distance beside it.
#pragma once

#include "device.cuh"
#include "flash.h"

// Sums of a thread stay in registers only where the loops over them are unrolled.
#ifdef __CUDACC__
#define FLASHMD_UNROLL _Pragma("unroll")
#else
#define FLASHMD_UNROLL
#endif

namespace flashmd::cuda {

constexpr int kFlashRows = 32;                                    // pairs of a block
constexpr int kFlashStride = 36;                                  // rows of shared memory, apart in its banks
constexpr int kFlashShare = 16;                                   // pairs of a thread
constexpr int kFlashLanes = kThreads * kFlashShare / kFlashRows;  // channels at a time

template <typename T>
struct FlashLayers {
  T *basis, *basis_slope, *hidden, *hidden_slope;  // [n, kFlashStride]

  __device__ FlashLayers(T* shared, const FlashFilters<T>& problem)
      : basis(shared),
        hidden(basis + problem.n_basis * kFlashStride),
        hidden_slope(hidden + problem.n_filters * kFlashStride) {
    basis_slope = hidden_slope + problem.n_filters * kFlashStride;
  }
};

// Sums over the inner index for sixteen pairs and one channel, and of the derivatives.
template <typename T, bool kSlopes>
__device__ void flash_layer(const T* values, const T* slopes, const T* weights, int64_t n_inner, int64_t n_outer,
                            int64_t channel, T* sums, T* slope_sums) {
  for (int64_t i = 0; i < n_inner; ++i) {
    const T weight = weights[i * n_outer + channel];
    FLASHMD_UNROLL
    for (int r = 0; r < kFlashShare; ++r) {
      sums[r] += weight * values[i * kFlashStride + r];
      if (kSlopes) slope_sums[r] += weight * slopes[i * kFlashStride + r];
    }
  }
}

template <typename T, bool kSlopes>
__device__ void flash_basis(const FlashFilters<T>& problem, int64_t first, int64_t end, const FlashLayers<T>& layers,
                            Jet<T>* factors) {
  __shared__ BasisRow<T> rows[kFlashRows];
  for (int r = threadIdx.x; r < kFlashRows; r += blockDim.x) {
    const T beyond = T(2.0 * problem.envelope.upper);  // there is no such pair: zeros
    const T d = first + r < end ? problem.distance[first + r] : beyond;
    rows[r] = basis_row(problem.basis, d);
    factors[r] = envelope(problem.envelope, d);
  }
  __syncthreads();
  for (int64_t item = threadIdx.x; item < problem.n_basis * kFlashRows; item += blockDim.x) {
    const int64_t k = item / kFlashRows, r = item % kFlashRows, at = k * kFlashStride + r;
    T slope;
    basis_value_and_slope(rows[r], problem.centres[k], problem.widths[k], layers.basis[at], slope);
    if (kSlopes) layers.basis_slope[at] = slope;
  }
  __syncthreads();
}

template <typename T, bool kSlopes>
__device__ void flash_hidden(const FlashFilters<T>& problem, const FlashLayers<T>& layers) {
  const int64_t row = threadIdx.x / kFlashLanes * kFlashShare;
  for (int64_t f = threadIdx.x % kFlashLanes; f < problem.n_filters; f += kFlashLanes) {
    T sums[kFlashShare], slopes[kFlashShare];
    FLASHMD_UNROLL
    for (int r = 0; r < kFlashShare; ++r) {
      sums[r] = problem.bias[f];
      slopes[r] = T(0);
    }
    flash_layer<T, kSlopes>(layers.basis + row, layers.basis_slope + row, problem.in, problem.n_basis,
                            problem.n_filters, f, sums, slopes);
    FLASHMD_UNROLL
    for (int r = 0; r < kFlashShare; ++r) {
      const ValueAndSlope<T> active = activate(problem.activation, sums[r]);
      layers.hidden[f * kFlashStride + row + r] = active.value;
      if (kSlopes) layers.hidden_slope[f * kFlashStride + row + r] = active.slope * slopes[r];
    }
  }
  __syncthreads();
}

// Sums over the threads that share the rows of each half of the block, in a fixed order.
template <typename T>
__device__ void flash_sum_slopes(const T* dots, int64_t first, int64_t end, T* slopes) {
  constexpr int kWarps = kThreads / kWarp, kWarpsOfRows = kFlashLanes / kWarp;
  __shared__ T partial[kWarps][kFlashShare];
  FLASHMD_UNROLL
  for (int r = 0; r < kFlashShare; ++r) {
    T total = dots[r];
    for (int step = kWarp / 2; step > 0; step /= 2) total += __shfl_xor_sync(kAllLanes, total, step);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp][r] = total;
  }
  __syncthreads();
  const int row = static_cast<int>(threadIdx.x);
  if (row >= kFlashRows || first + row >= end) return;
  T total = T(0);
  for (int w = 0; w < kWarpsOfRows; ++w) total += partial[row / kFlashShare * kWarpsOfRows + w][row % kFlashShare];
  slopes[first + row] = total;
}

template <typename T, bool kSlopes>
__global__ void flash_kernel(FlashFilters<T> problem, const T* grad, const T* features, int64_t begin, int64_t end,
                             T* filters, T* slopes) {
  FLASHMD_DYNAMIC_SHARED(T, shared);
  __shared__ Jet<T> factors[kFlashRows];
  const FlashLayers<T> layers(shared, problem);
  const int64_t first = begin + int64_t{blockIdx.x} * kFlashRows;
  flash_basis<T, kSlopes>(problem, first, end, layers, factors);
  flash_hidden<T, kSlopes>(problem, layers);
  const int64_t n = problem.n_filters, row = threadIdx.x / kFlashLanes * kFlashShare;
  T dots[kFlashShare] = {};
  for (int64_t f = threadIdx.x % kFlashLanes; f < n; f += kFlashLanes) {
    T sums[kFlashShare] = {}, slope_sums[kFlashShare] = {};
    flash_layer<T, kSlopes>(layers.hidden + row, layers.hidden_slope + row, problem.out, n, n, f, sums, slope_sums);
    FLASHMD_UNROLL
    for (int r = 0; r < kFlashShare; ++r) {
      const int64_t pair = first + row + r;
      if (pair >= end) continue;
      const Jet<T>& factor = factors[row + r];
      if (filters) filters[(pair - begin) * n + f] = factor.value * sums[r];
      if (!kSlopes) continue;
      const int64_t receiver = problem.graph.receiver[pair] * n + f, sender = problem.graph.sender[pair] * n + f;
      const T ends = grad[receiver] * features[sender] + grad[sender] * features[receiver];
      dots[r] += ends * (factor.value * slope_sums[r] + factor.slope * sums[r]);
    }
  }
  if (kSlopes) flash_sum_slopes(dots, first, end, slopes);
}

// One thread for each number of the result: first the pairs that the atom receives, then those that it sends.
template <typename T>
__global__ void flash_message_kernel(Graph graph, const T* filters, const T* features, int64_t begin, int64_t end,
                                     int64_t n_filters, T* out) {
  for (int64_t item = global_thread(); item < graph.n_atoms * n_filters; item += grid_size()) {
    const int64_t atom = item / n_filters, f = item % n_filters;
    T total = out[item];
    const int64_t last = graph.row_ptr[atom + 1] < end ? graph.row_ptr[atom + 1] : end;
    for (int64_t e = graph.row_ptr[atom] > begin ? graph.row_ptr[atom] : begin; e < last; ++e) {
      total += features[graph.sender[e] * n_filters + f] * filters[(e - begin) * n_filters + f];
    }
    for (int64_t k = graph.col_ptr[atom]; k < graph.col_ptr[atom + 1]; ++k) {
      const int64_t e = graph.transpose[k];
      if (e < begin || e >= end) continue;
      total += features[graph.receiver[e] * n_filters + f] * filters[(e - begin) * n_filters + f];
    }
    out[item] = total;
  }
}

}  // namespace flashmd::cuda

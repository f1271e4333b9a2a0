// What every neighbour search on the GPU shares: the system of an atom, the images of a pair, offsets from counts.
#pragma once

#include "../include/lattice.h"
#include "device.cuh"

namespace flashmd::cuda {

struct Point {
  double x[3];
};

template <typename T>
__device__ Point load(const Batch<T>& batch, int64_t atom) {
  Point point;
  for (int d = 0; d < 3; ++d) point.x[d] = static_cast<double>(batch.positions[3 * atom + d]);
  return point;
}

// The system of an atom: the last one that begins at or before it.
template <typename T>
__device__ int64_t system_of(const Batch<T>& batch, int64_t atom) {
  int64_t low = 0, high = batch.n_systems;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (batch.ptr[middle] <= atom ? low : high) = middle;
  }
  return low;
}

__device__ inline void wrapped(const Lattice& lattice, const double x[3], int32_t wrap[3]) {
  for (int k = 0; k < 3; ++k) {
    // Atoms beyond the clamp are reported; meanwhile no range of shifts may overflow.
    const double whole = fmin(fmax(floor(fractional(lattice, x, k)), -1e9), 1e9);
    wrap[k] = lattice.periodic[k] ? static_cast<int32_t>(whole) : 0;
  }
}

// Call visit(shift) for every image of `other` that is a neighbour of `atom`, in order.
template <typename F>
__device__ void for_images(const Lattice& lattice, double cutoff, const Point& home, const Point& point, bool same,
                           const F& visit) {
  int32_t home_wrap[3], other_wrap[3], shift[3], first[3], last[3];
  wrapped(lattice, home.x, home_wrap);
  wrapped(lattice, point.x, other_wrap);
  for (int k = 0; k < 3; ++k) {
    const int32_t reach = lattice.periodic[k] ? static_cast<int32_t>(cutoff / lattice.height[k]) + 1 : 0;
    first[k] = home_wrap[k] - other_wrap[k] - reach;
    last[k] = home_wrap[k] - other_wrap[k] + reach;
  }
  for (shift[0] = first[0]; shift[0] <= last[0]; ++shift[0]) {
    for (shift[1] = first[1]; shift[1] <= last[1]; ++shift[1]) {
      for (shift[2] = first[2]; shift[2] <= last[2]; ++shift[2]) {
        if (!(squared_distance(lattice, home.x, point.x, shift) < cutoff * cutoff)) continue;
        if (same && shift[0] == 0 && shift[1] == 0 && shift[2] == 0) continue;
        visit(shift);
      }
    }
  }
}

// Lower an index in the report; -1, read as unsigned, is the largest.
__device__ inline void report_least(int64_t* status, int64_t index) {
  atomicMin(reinterpret_cast<unsigned long long*>(status), static_cast<unsigned long long>(index));
}

// Finite, and not so far from the origin that shifts leave 32 bits.
__device__ inline bool locatable(const Lattice& lattice, const double x[3]) {
  for (int k = 0; k < 3; ++k) {
    if (!isfinite(x[k]) || (lattice.periodic[k] && fabs(fractional(lattice, x, k)) > 1e9)) return false;
  }
  return true;
}

// Turn counts into offsets with one block and return their sum: each thread sums a stretch, thread 0 adds up the
// stretches. On entry row_ptr[i + 1] counts row i; offsets above `limit` are lowered to it.
template <typename I>
__device__ int64_t offsets_from_counts(I* row_ptr, int64_t n_rows, int64_t limit) {
  __shared__ int64_t sums[kThreads + 1];
  const int64_t stretch = (n_rows + kThreads - 1) / kThreads;
  const int64_t begin = threadIdx.x * stretch, bound = begin + stretch;
  const int64_t end = bound < n_rows ? bound : n_rows;
  int64_t total = 0;
  for (int64_t row = begin; row < end; ++row) total += row_ptr[row + 1];
  sums[threadIdx.x + 1] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    sums[0] = 0;
    for (int i = 0; i < kThreads; ++i) sums[i + 1] += sums[i];
    row_ptr[0] = 0;
  }
  __syncthreads();
  int64_t offset = sums[threadIdx.x];
  for (int64_t row = begin; row < end; ++row) {
    offset += row_ptr[row + 1];
    row_ptr[row + 1] = static_cast<I>(offset < limit ? offset : limit);
  }
  return sums[kThreads];
}

}  // namespace flashmd::cuda

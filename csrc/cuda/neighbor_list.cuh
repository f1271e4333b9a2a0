// Neighbour search by the plain loop: one thread for each atom runs over the atoms of its system and their images, in
// order of sender and shift, once to count and once to write. That suits many small systems; work grows with the square
// of the atoms of a system.
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

// Call visit(sender, shift) for every neighbour of `atom` in the order of the list.
template <typename T, typename F>
__device__ inline void for_neighbors(const Batch<T>& batch, const Lattice& lattice, int64_t system, int64_t atom,
                                     const F& visit) {
  const Point home = load(batch, atom);
  int32_t home_wrap[3], other_wrap[3], shift[3], first[3], last[3];
  wrapped(lattice, home.x, home_wrap);
  for (int64_t other = batch.ptr[system]; other < batch.ptr[system + 1]; ++other) {
    const Point point = load(batch, other);
    wrapped(lattice, point.x, other_wrap);
    for (int k = 0; k < 3; ++k) {
      const int32_t reach = lattice.periodic[k] ? static_cast<int32_t>(batch.cutoff / lattice.height[k]) + 1 : 0;
      first[k] = home_wrap[k] - other_wrap[k] - reach;
      last[k] = home_wrap[k] - other_wrap[k] + reach;
    }
    for (shift[0] = first[0]; shift[0] <= last[0]; ++shift[0]) {
      for (shift[1] = first[1]; shift[1] <= last[1]; ++shift[1]) {
        for (shift[2] = first[2]; shift[2] <= last[2]; ++shift[2]) {
          if (!(squared_distance(lattice, home.x, point.x, shift) < batch.cutoff * batch.cutoff)) continue;
          if (other == atom && shift[0] == 0 && shift[1] == 0 && shift[2] == 0) continue;
          visit(other, shift);
        }
      }
    }
  }
}

__global__ void clear_status(int64_t* status) {
  status[0] = 0;
  status[1] = status[2] = -1;
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

template <typename T>
__global__ void count_kernel(Batch<T> batch, int64_t* row_ptr, int64_t* status) {
  for (int64_t atom = global_thread(); atom < batch.n_atoms; atom += grid_size()) {
    const int64_t system = system_of(batch, atom);
    const Lattice lattice = make_lattice(batch.cell + 9 * system, batch.pbc + 3 * system);
    const Point point = load(batch, atom);
    int64_t count = 0;
    if (lattice.singular) {
      report_least(status + 2, system);
    } else if (!locatable(lattice, point.x)) {
      report_least(status + 1, atom);
    } else {
      for_neighbors(batch, lattice, system, atom, [&](int64_t, const int32_t*) { ++count; });
    }
    row_ptr[atom + 1] = count;
  }
}

// Turn counts into offsets with one block: each thread sums a stretch, thread 0 adds up the stretches.
__global__ void scan_kernel(int64_t* row_ptr, int64_t n_atoms, int64_t* status) {
  __shared__ int64_t sums[kThreads + 1];
  const int64_t stretch = (n_atoms + kThreads - 1) / kThreads;
  const int64_t begin = threadIdx.x * stretch, limit = begin + stretch;
  const int64_t end = limit < n_atoms ? limit : n_atoms;
  int64_t total = 0;
  for (int64_t atom = begin; atom < end; ++atom) total += row_ptr[atom + 1];
  sums[threadIdx.x + 1] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    sums[0] = 0;
    for (int i = 0; i < kThreads; ++i) sums[i + 1] += sums[i];
    row_ptr[0] = 0;
    status[0] = sums[kThreads];
  }
  __syncthreads();
  int64_t offset = sums[threadIdx.x];
  for (int64_t atom = begin; atom < end; ++atom) {
    offset += row_ptr[atom + 1];
    row_ptr[atom + 1] = offset;
  }
}

template <typename T>
__global__ void fill_kernel(Batch<T> batch, NeighborOutput out) {
  for (int64_t atom = global_thread(); atom < batch.n_atoms; atom += grid_size()) {
    const int64_t system = system_of(batch, atom);
    const Lattice lattice = make_lattice(batch.cell + 9 * system, batch.pbc + 3 * system);
    int64_t edge = out.row_ptr[atom];
    for_neighbors(batch, lattice, system, atom, [&](int64_t other, const int32_t* shift) {
      out.receiver[edge] = atom;
      out.sender[edge] = other;
      for (int d = 0; d < 3; ++d) out.shift[3 * edge + d] = shift[d];
      ++edge;
    });
  }
}

// As on the CPU: the list is symmetric, so column i follows from row i and the rows of its neighbours.
__global__ void transpose_kernel(int64_t n_atoms, NeighborOutput out) {
  for (int64_t atom = global_thread(); atom < n_atoms; atom += grid_size()) {
    int64_t first = out.row_ptr[atom];
    while (first < out.row_ptr[atom + 1]) {
      const int64_t other = out.sender[first];
      int64_t low = out.row_ptr[other], high = out.row_ptr[other + 1];
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (out.sender[middle] < atom) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      for (; first < out.row_ptr[atom + 1] && out.sender[first] == other; ++first) out.transpose[first] = low++;
    }
  }
}

}  // namespace flashmd::cuda

// Neighbour search by the plain loop: one thread for each atom runs over the atoms of its system and their images, in
// order of sender and shift, once to count and once to write. That suits many small systems; work grows with the square
// of the atoms of a system.
#pragma once

#include "neighbor_search.cuh"

namespace flashmd::cuda {

// Call visit(sender, shift) for every neighbour of `atom` in the order of the list.
template <typename T, typename F>
__device__ void for_neighbors(const Batch<T>& batch, const Lattice& lattice, int64_t system, int64_t atom,
                              const F& visit) {
  const Point home = load(batch, atom);
  for (int64_t other = batch.ptr[system]; other < batch.ptr[system + 1]; ++other) {
    for_images(lattice, batch.cutoff, home, load(batch, other), other == atom,
               [&](const int32_t* shift) { visit(other, shift); });
  }
}

__global__ void clear_status(int64_t* status) {
  status[0] = 0;
  status[1] = status[2] = -1;
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

__global__ void scan_kernel(int64_t* row_ptr, int64_t n_atoms, int64_t* status) {
  const int64_t found = offsets_from_counts(row_ptr, n_atoms, kNoLimit);
  if (threadIdx.x == 0) status[0] = found;
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

// The neighbour list on the device. A warp works on one atom: its lanes look at 32 candidates at a time and agree by
// shuffles where to write, so that the order is that of the senders. All kernels but the first two return at once where
// nothing has moved, which makes an update part of a graph that is the same in every step.
#pragma once

#include "neighbor_search.cuh"
#include "row_list.h"
#include "warp.cuh"

namespace flashmd::cuda {

template <typename T>
__global__ void moved_kernel(const T* positions, int64_t n_atoms, T limit, RowList<T> list) {
  for (int64_t atom = global_thread(); atom < n_atoms; atom += grid_size()) {
    T squared = T(0);
    for (int d = 0; d < 3; ++d) {
      const T step = positions[3 * atom + d] - list.reference[3 * atom + d];
      squared += step * step;
    }
    // Written so that a NaN counts as moved; every thread that writes, writes the same.
    if (!(squared <= limit)) list.state[kMoved] = 1;
  }
}

template <typename T>
__global__ void begin_update_kernel(RowList<T> list) {
  list.state[kRebuild] = list.state[kMoved];
  if (list.state[kMoved] == 0) return;
  list.state[kMoved] = 0;
  list.state[kBadAtom] = list.state[kBadSystem] = -1;
  ++list.state[kBuilds];
}

// Call visit(other, n_images) for all atoms of a system, 32 at a time; lanes without an atom get no images.
template <typename T, typename F>
__device__ void for_candidates(const Batch<T>& batch, const Lattice& lattice, int64_t system, int64_t atom,
                               const F& visit) {
  const Point home = load(batch, atom);
  const int64_t end = batch.ptr[system + 1];
  for (int64_t first = batch.ptr[system]; first < end; first += kWarp) {
    const int64_t other = first + lane_index();
    int32_t n_images = 0;
    if (other < end) {
      for_images(lattice, batch.cutoff, home, load(batch, other), other == atom, [&](const int32_t*) { ++n_images; });
    }
    visit(other, n_images);
  }
}

template <typename T>
__global__ void count_rows_kernel(Batch<T> batch, RowList<T> list) {
  if (list.state[kRebuild] == 0) return;
  for (int64_t atom = global_thread() / kWarp; atom < batch.n_atoms; atom += grid_size() / kWarp) {
    const int64_t system = system_of(batch, atom);
    const Lattice lattice = make_lattice(batch.cell + 9 * system, batch.pbc + 3 * system);
    const Point point = load(batch, atom);
    int32_t count = 0;
    if (lattice.singular) {
      report_least(list.state + kBadSystem, system);
    } else if (!locatable(lattice, point.x)) {
      report_least(list.state + kBadAtom, atom);
    } else {
      for_candidates(batch, lattice, system, atom, [&](int64_t, int32_t n_images) { count += n_images; });
    }
    count = warp_sum(count);
    if (lane_index() == 0) list.row_ptr[atom + 1] = count;
  }
}

template <typename T>
__global__ void scan_rows_kernel(int64_t n_atoms, RowList<T> list) {
  if (list.state[kRebuild] == 0) return;
  const int64_t found = offsets_from_counts(list.row_ptr, n_atoms, list.capacity);
  if (threadIdx.x == 0) list.state[kFound] = found;
}

template <typename T>
__global__ void fill_rows_kernel(Batch<T> batch, RowList<T> list) {
  if (list.state[kRebuild] == 0) return;
  for (int64_t atom = global_thread() / kWarp; atom < batch.n_atoms; atom += grid_size() / kWarp) {
    const int lane = lane_index();
    if (lane < 3) list.reference[3 * atom + lane] = batch.positions[3 * atom + lane];
    int32_t next = list.row_ptr[atom];
    const int32_t end = list.row_ptr[atom + 1];
    if (next == end) continue;
    const int64_t system = system_of(batch, atom);
    const Lattice lattice = make_lattice(batch.cell + 9 * system, batch.pbc + 3 * system);
    const Point home = load(batch, atom);
    for_candidates(batch, lattice, system, atom, [&](int64_t other, int32_t n_images) {
      const int32_t last = warp_running_sum(n_images);
      int32_t place = next + last - n_images;
      next += __shfl_sync(kAllLanes, last, kWarp - 1);
      if (n_images == 0) return;
      for_images(lattice, batch.cutoff, home, load(batch, other), other == atom, [&](const int32_t* shift) {
        if (place < end) {
          list.sender[place] = static_cast<int32_t>(other);
          for (int d = 0; list.shift && d < 3; ++d) list.shift[3 * int64_t{place} + d] = shift[d];
        }
        ++place;
      });
    });
  }
}

}  // namespace flashmd::cuda

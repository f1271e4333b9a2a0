// One warp for each atom: its lanes share out the terms of the atom and add up what they found in a fixed order.
#pragma once

#include "device.cuh"
#include "priors.h"

namespace flashmd::cuda {

template <typename T>
struct PriorColumns {
  const T* from;
  int64_t stride;
  __device__ T operator()(int column) const { return from[column * stride]; }
};

// What one lane has found.
template <typename T>
struct PriorShare {
  Point<T> force;
  double energy, virial[9];
};

// The system of an atom by bisection.
__device__ inline int64_t system_of(const int64_t* ptr, int64_t n_systems, int64_t atom) {
  int64_t low = 0, high = n_systems;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (ptr[middle] <= atom) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

template <typename T>
struct PriorLane {
  const PriorPlan<T>& plan;
  const T* positions;  // of the system
  int64_t atom;        // within the system
  int lane;
  const Images<T>* images;

  __device__ Point<T> position(int64_t index) const {
    return {positions[3 * index], positions[3 * index + 1], positions[3 * index + 2]};
  }
  __device__ Point<T> imaged(const Point<T>& vector) const { return images ? nearest_image(vector, *images) : vector; }

  static __device__ void add_virial(PriorShare<T>& share, const Point<T>& vector, const Point<T>& gradient,
                                    double weight) {
    const T v[3] = {vector.x, vector.y, vector.z}, g[3] = {gradient.x, gradient.y, gradient.z};
    for (int a = 0; a < 3; ++a) {
      for (int b = 0; b < 3; ++b) share.virial[3 * a + b] += weight * static_cast<double>(v[a] * g[b]);
    }
  }

  // Both atoms of a pair see it, so each counts half of its energy.
  template <PriorForm kForm, bool kVirial>
  __device__ void add_pairs(const PriorSection& section, T cutoff, PriorShare<T>& share) const {
    const int32_t* rows = plan.index + section.rows_begin + atom;
    const int32_t* others = plan.index + section.entries_begin;
    const Point<T> here = position(atom);
    for (int32_t entry = rows[0] + lane; entry < rows[1]; entry += kWarp) {
      const Point<T> vector = imaged(position(others[entry]) - here);
      const PriorColumns<T> columns{plan.parameters + section.parameter_begin + entry, section.n_items};
      const auto term = pair_term<kForm>(dot(vector, vector), columns, cutoff);
      const Point<T> gradient = vector * term.slope;
      share.force = share.force + gradient;
      share.energy += 0.5 * static_cast<double>(term.energy);
      if (kVirial) add_virial(share, vector, gradient, 0.5);
    }
  }

  // The first atom of a term counts its energy.
  template <PriorForm kForm, bool kVirial>
  __device__ void add_terms(const PriorSection& section, T cutoff, PriorShare<T>& share) const {
    constexpr int kOrder = order_of(kForm);
    const int32_t* rows = plan.index + section.rows_begin + atom;
    const int32_t* entries = plan.index + section.entries_begin;
    for (int32_t entry = rows[0] + lane; entry < rows[1]; entry += kWarp) {
      const int32_t term = entries[entry] / kOrder, place = entries[entry] % kOrder;
      Point<T> atoms[kOrder], vectors[kOrder - 1], forces[kOrder];
      for (int a = 0; a < kOrder; ++a) {
        atoms[a] = position(plan.index[section.index_begin + a * section.n_items + term]);
      }
      displacements<kOrder>(atoms, vectors);
      for (int i = 0; i + 1 < kOrder; ++i) vectors[i] = imaged(vectors[i]);
      const PriorColumns<T> columns{plan.parameters + section.parameter_begin + term, section.n_items};
      const auto result = contribution<kForm>(vectors, columns, static_cast<int>(section.n_columns), cutoff);
      forces_of<kOrder>(result.gradient, forces);
      for (int a = 0; a < kOrder; ++a) {
        if (a == place) share.force = share.force + forces[a];
      }
      if (place != 0) continue;
      share.energy += static_cast<double>(result.energy);
      for (int i = 0; kVirial && i + 1 < kOrder; ++i) add_virial(share, vectors[i], result.gradient[i], 1.0);
    }
  }

  template <PriorForm kForm, bool kVirial>
  __device__ void add_section(const PriorSection& section, T cutoff, PriorShare<T>& share) const {
    if constexpr (order_of(kForm) == 2) {
      add_pairs<kForm, kVirial>(section, cutoff, share);
    } else {
      add_terms<kForm, kVirial>(section, cutoff, share);
    }
  }
};

template <typename N>
__device__ N sum_over_warp(N value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

template <typename T, bool kVirial>
__global__ void prior_atom_kernel(PriorBatch<T> batch, PriorPlan<T> plan, T* forces, double* scratch) {
  constexpr int kShares = kVirial ? 10 : 1;
  for (int64_t atom = global_thread() / kWarp; atom < batch.n_atoms; atom += grid_size() / kWarp) {
    const int64_t system = system_of(batch.ptr, batch.n_systems, atom), first = batch.ptr[system];
    const bool* pbc = batch.pbc + 3 * system;
    const bool periodic = pbc[0] || pbc[1] || pbc[2];
    Images<T> images;
    if (periodic) images = make_images(batch.cell + 9 * system, pbc);
    const PriorLane<T> lane{plan, batch.positions + 3 * first, atom - first, static_cast<int>(threadIdx.x % kWarp),
                            periodic ? &images : nullptr};
    PriorShare<T> share{};
    const int64_t which = plan.template_of[system];
    for (int64_t s = plan.template_ptr[which]; s < plan.template_ptr[which + 1]; ++s) {
      const PriorSection& section = plan.sections[s];
      const T cutoff = static_cast<T>(plan.cutoffs[s]);
#define FLASHMD_CALL(FORM)                                            \
  case FORM:                                                          \
    lane.template add_section<FORM, kVirial>(section, cutoff, share); \
    break;
      FLASHMD_FOR_PRIOR_FORM(static_cast<PriorForm>(section.form), FLASHMD_CALL)
#undef FLASHMD_CALL
    }
    const Point<T> force{sum_over_warp(share.force.x), sum_over_warp(share.force.y), sum_over_warp(share.force.z)};
    double sums[kShares];
    sums[0] = sum_over_warp(share.energy);
    for (int i = 1; i < kShares; ++i) sums[i] = sum_over_warp(share.virial[i - 1]);
    if (lane.lane != 0) continue;
    forces[3 * atom] = force.x;
    forces[3 * atom + 1] = force.y;
    forces[3 * atom + 2] = force.z;
    for (int i = 0; i < kShares; ++i) scratch[kShares * atom + i] = sums[i];
  }
}

// One block for each system and share: strided sums, then a tree.
template <int kShares>
__global__ void prior_system_kernel(const int64_t* ptr, const double* scratch, double* energy, double* virial) {
  __shared__ double partial[kThreads];
  const int64_t system = blockIdx.x / kShares;
  const int share = blockIdx.x % kShares;
  double sum = 0.0;
  for (int64_t atom = ptr[system] + threadIdx.x; atom < ptr[system + 1]; atom += kThreads) {
    sum += scratch[kShares * atom + share];
  }
  partial[threadIdx.x] = sum;
  for (unsigned width = kThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (threadIdx.x < width) partial[threadIdx.x] += partial[threadIdx.x + width];
  }
  if (threadIdx.x != 0) return;
  if (share == 0) {
    energy[system] = partial[0];
  } else {
    virial[9 * system + share - 1] = partial[0];
  }
}

}  // namespace flashmd::cuda

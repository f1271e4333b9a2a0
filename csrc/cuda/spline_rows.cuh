// Messages over tabulated filters. A warp works on the rows of one atom after the other, a lane on one channel: it
// reads the four numbers of the interval and the feature of the sender, and adds up in registers, so that nothing is
// stored for a pair and channel, no two threads write the same number and every sum has one order.
//
// Per directed pair and slice of 32 channels in float32, with table and features in shared memory:
//   convolve        16 bytes of global memory, 640 of shared memory (5 words a lane), 18 operations a lane
//   differentiate   32 bytes of global memory, 768 of shared memory (6 words a lane), 45 operations a lane
// The shared memory is what limits both.
#pragma once

#include "../include/hermite.h"
#include "spline_rows.h"
#include "warp.cuh"

namespace flashmd::cuda {

// Distances of all pairs of the list; those within the cutoff are moved to the front of their row, in order.
template <typename T>
__global__ void geometry_kernel(RowGeometry<T> input, RowPairs<T> out) {
  for (int64_t row = global_thread() / kWarp; row < input.n_atoms; row += grid_size() / kWarp) {
    const T* cell = input.cell + 9 * input.batch[row];
    const int32_t begin = out.row_ptr[row], end = out.row_ptr[row + 1];
    int32_t kept = begin;
    for (int32_t first = begin; first < end; first += kWarp) {
      const int32_t k = first + lane_index();
      int32_t sender = 0;
      T vector[3] = {T(0), T(0), T(0)}, distance = input.cutoff;
      if (k < end) {
        sender = input.sender[k];
        T squared = T(0);
        for (int d = 0; d < 3; ++d) {
          vector[d] = input.positions[3 * int64_t{sender} + d] - input.positions[3 * row + d];
          for (int axis = 0; input.shift && axis < 3; ++axis) {
            vector[d] += static_cast<T>(input.shift[3 * int64_t{k} + axis]) * cell[3 * axis + d];
          }
          squared += vector[d] * vector[d];
        }
        distance = sqrt(squared);
      }
      const bool inside = distance < input.cutoff;
      const unsigned votes = __ballot_sync(kAllLanes, inside);
      if (inside) {
        const int32_t place = kept + __popc(votes & ((1u << lane_index()) - 1u));
        const T scaled = distance * input.per_length, inverse = distance > T(0) ? T(1) / distance : T(0);
        const int32_t floor = static_cast<int32_t>(scaled);
        const int32_t interval = floor < input.n_intervals ? floor : input.n_intervals - 1;
        out.pairs[place] = {sender, interval, scaled - static_cast<T>(interval)};
        out.directions[place] = {vector[0] * inverse, vector[1] * inverse, vector[2] * inverse, distance};
      }
      kept += __popc(votes);
    }
    if (lane_index() == 0) out.row_count[row] = kept - begin;
  }
}

// What a block works on.
struct RowTask {
  int32_t slice, part;
  int64_t first_system, end_system;

  __device__ RowTask(const RowPlan& plan, int64_t n_systems) {
    const int32_t block = static_cast<int32_t>(blockIdx.x), group = block / (plan.n_slices * plan.n_parts);
    slice = block % plan.n_slices;
    part = block / plan.n_slices % plan.n_parts;
    first_system = n_systems * group / plan.n_groups;
    end_system = n_systems * (group + 1) / plan.n_groups;
  }
};

// Copy a slice of the channels of n rows next to each other; every thread of the block takes part.
template <typename T>
__device__ void load_slice(const T* features, int32_t n_slices, int32_t slice, int64_t begin, int64_t n, T* out) {
  for (int64_t item = threadIdx.x; item < n * kSlice; item += blockDim.x) {
    out[item] = features[((begin + item / kSlice) * n_slices + slice) * kSlice + item % kSlice];
  }
}

template <typename T>
__device__ void load_table(const RowTable<T>& table, int32_t slice, T* out) {
  const int32_t size = table.n_knots * kKnot;
  const T* from = table.knots + int64_t{slice} * size;
  for (int32_t item = threadIdx.x; item < size; item += blockDim.x) out[item] = from[item];
}

// Read access to a slice of the features of one system, wherever they are.
template <typename T>
struct SliceView {
  const T* first;
  int32_t stride;
  __device__ T operator()(int64_t row) const { return first[row * stride]; }
};

// The view for rows that are counted within the batch.
template <typename T, bool kShared>
__device__ SliceView<T> slice_view(const T* global, const T* shared, const RowPlan& plan, int32_t slice) {
  if constexpr (kShared) return {shared + lane_index(), kSlice};
  return {global + slice * kSlice + lane_index(), plan.n_slices * kSlice};
}

// The filter, or its slope, between two knots, for the channel of this lane.
template <typename T>
__device__ T weighted(const HermiteWeights<T>& weights, const T* knot) {
  return weights.v0 * knot[0] + weights.m0 * knot[kSlice] + weights.v1 * knot[kKnot] +
         weights.m1 * knot[kKnot + kSlice];
}

template <typename T, Keep kKeep>
__global__ void __launch_bounds__(kRowThreads<T>)
    convolve_kernel(RowSystems systems, RowPairs<T> rows, RowTable<T> table, RowPlan plan, const T* features, T* out) {
  FLASHMD_DYNAMIC_SHARED(T, shared);
  constexpr bool kShared = kKeep == Keep::table_and_features;
  const RowTask task(plan, systems.n_systems);
  const int32_t n_table = kKeep == Keep::nothing ? 0 : table.n_knots * kKnot;
  if (kKeep != Keep::nothing) load_table(table, task.slice, shared);
  T* own = shared + n_table;
  const T* knots = (kKeep == Keep::nothing ? table.knots + int64_t{task.slice} * table.n_knots * kKnot : shared);
  knots += lane_index();
  const SliceView<T> view = slice_view<T, kShared>(features, own, plan, task.slice);
  const int32_t n_warps = static_cast<int32_t>(blockDim.x) / kWarp;
  for (int64_t system = task.first_system; system < task.end_system; ++system) {
    const int64_t begin = systems.ptr[system], end = systems.ptr[system + 1];
    const int64_t origin = kShared ? begin : 0;
    __syncthreads();  // nobody reads the slice of the last system any more
    if (kShared) load_slice(features, plan.n_slices, task.slice, begin, end - begin, own);
    __syncthreads();
    for (int64_t row = begin + task.part * n_warps + warp_index(); row < end; row += int64_t{plan.n_parts} * n_warps) {
      const RowPair<T>* pairs = rows.pairs + rows.row_ptr[row];
      const int32_t n_pairs = rows.row_count[row];
      T sum = T(0);
      for (int32_t k = 0; k < n_pairs; ++k) {
        const RowPair<T> pair = pairs[k];
        const T filter = weighted(hermite_weights(pair.fraction), knots + pair.interval * kKnot);
        sum += filter * view(pair.sender - origin);
      }
      out[(row * plan.n_slices + task.slice) * kSlice + lane_index()] = sum;
    }
  }
}

// Sums of one row over its pairs, for the channel of a lane.
template <typename T, bool kVirial>
struct RowSums {
  T feature = T(0);
  T force[3] = {T(0), T(0), T(0)};
  T virial[kVirial ? 6 : 1] = {};

  __device__ void add(T slope, const RowDirection<T>& way) {
    const T x = slope * way.x, y = slope * way.y, z = slope * way.z;
    force[0] += x;
    force[1] += y;
    force[2] += z;
    if constexpr (kVirial) {
      virial[0] += x * way.x * way.distance;
      virial[1] += y * way.y * way.distance;
      virial[2] += z * way.z * way.distance;
      virial[3] += x * way.y * way.distance;
      virial[4] += x * way.z * way.distance;
      virial[5] += y * way.z * way.distance;
    }
  }
};

// Sum `values` over the channels of a slice and store them as a row of `out`, times `factor`.
template <int kSize, typename T>
__device__ void store_sums(const T* values, T factor, bool add, T* out) {
  for (int d = 0; d < kSize; ++d) {
    const T total = factor * warp_sum(values[d]);
    if (lane_index() == d) out[d] = add ? out[d] + total : total;
  }
}

template <typename T, Keep kKeep, bool kVirial>
__global__ void __launch_bounds__(kRowThreads<T>)
    differentiate_kernel(RowSystems systems, RowPairs<T> rows, RowTable<T> table, RowPlan plan, RowGradients<T> from) {
  FLASHMD_DYNAMIC_SHARED(T, shared);
  constexpr bool kShared = kKeep == Keep::table_and_features;
  const RowTask task(plan, systems.n_systems);
  const int32_t n_table = kKeep == Keep::nothing ? 0 : table.n_knots * kKnot;
  if (kKeep != Keep::nothing) load_table(table, task.slice, shared);
  T *own = shared + n_table, *own_gradients = own + (kShared ? int64_t{plan.most_atoms} * kSlice : 0);
  const T* knots = (kKeep == Keep::nothing ? table.knots + int64_t{task.slice} * table.n_knots * kKnot : shared);
  knots += lane_index();
  const SliceView<T> features = slice_view<T, kShared>(from.features, own, plan, task.slice);
  const SliceView<T> gradients = slice_view<T, kShared>(from.gradients, own_gradients, plan, task.slice);
  const int32_t n_warps = static_cast<int32_t>(blockDim.x) / kWarp;
  for (int64_t system = task.first_system; system < task.end_system; ++system) {
    const int64_t begin = systems.ptr[system], end = systems.ptr[system + 1];
    const int64_t origin = kShared ? begin : 0;
    __syncthreads();  // nobody reads the slices of the last system any more
    if (kShared) load_slice(from.features, plan.n_slices, task.slice, begin, end - begin, own);
    if (kShared) load_slice(from.gradients, plan.n_slices, task.slice, begin, end - begin, own_gradients);
    __syncthreads();
    for (int64_t row = begin + task.part * n_warps + warp_index(); row < end; row += int64_t{plan.n_parts} * n_warps) {
      const RowPair<T>* pairs = rows.pairs + rows.row_ptr[row];
      const RowDirection<T>* directions = rows.directions + rows.row_ptr[row];
      const int32_t n_pairs = rows.row_count[row];
      const T feature = features(row - origin), gradient = gradients(row - origin);
      RowSums<T, kVirial> sums;
      for (int32_t k = 0; k < n_pairs; ++k) {
        const RowPair<T> pair = pairs[k];
        const T* knot = knots + pair.interval * kKnot;
        const T other = gradients(pair.sender - origin);
        sums.feature += weighted(hermite_weights(pair.fraction), knot) * other;
        const T product = gradient * features(pair.sender - origin) + other * feature;
        sums.add(product * weighted(hermite_slope_weights(pair.fraction), knot), directions[k]);
      }
      const int64_t place = task.slice * systems.n_atoms + row;
      if (from.to_features) from.to_features[(row * plan.n_slices + task.slice) * kSlice + lane_index()] = sums.feature;
      store_sums<3>(sums.force, from.per_length, from.add, from.forces + 3 * place);
      // Both directions of a pair add its share.
      if constexpr (kVirial) store_sums<6>(sums.virial, from.per_length * T(0.5), from.add, from.virial + 6 * place);
    }
  }
}

}  // namespace flashmd::cuda

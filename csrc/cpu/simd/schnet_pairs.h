// Pairs of a group: distances, order by interval, and forces from the slopes of the energy along the pairs.
#pragma once

#include <cmath>

#include "schnet_group.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Vector from the receiver to the sender of a pair.
template <typename T>
FLASHMD_INLINE void pair_vector(const SchNetBatch<T>& batch, int64_t pair, T vector[3]) {
  const T* to = batch.positions + 3 * int64_t{batch.receiver[pair]};
  const T* from = batch.positions + 3 * int64_t{batch.sender[pair]};
  for (int k = 0; k < 3; ++k) vector[k] = from[k] - to[k];
  if (batch.image) {
    for (int k = 0; k < 3; ++k) vector[k] += batch.image[3 * pair + k];
  }
}

// Interval and place of the pairs [begin, end) of the group. Pairs at the cutoff or beyond get the interval
// n_intervals, which is left out; a distance that is not a number stays in, so that it reaches the energy.
template <typename T>
FLASHMD_INLINE void locate_pairs(const Group<T>& group, int64_t begin, int64_t end) {
  const int32_t n_intervals = static_cast<int32_t>(group.model.sizes.n_intervals);
  const T per_length = T(n_intervals) / group.model.cutoff;
  int32_t* __restrict intervals = group.interval;
  T* __restrict places = group.place;
  T* __restrict inverses = group.inverse_distance;
  for (int64_t p = begin; p < end; ++p) {
    T vector[3];
    pair_vector(group.batch, group.pairs.first_pair + p, vector);
    const T distance = std::sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2]);
    const T position = distance * per_length;
    const bool within = !(distance >= group.model.cutoff) && !(position >= T(n_intervals));
    const int32_t interval = position > T(0) && within ? static_cast<int32_t>(position) : 0;
    intervals[p] = within ? interval : n_intervals;
    places[p] = position - T(interval);
    inverses[p] = distance > T(0) ? T(1) / distance : distance;
  }
}

// Counting sort by interval; pairs of one interval keep their order.
template <typename T>
FLASHMD_INLINE void sort_pairs(const Group<T>& group) {
  const int64_t n_intervals = group.model.sizes.n_intervals, n_pairs = group.pairs.n_pairs;
  int32_t* __restrict begin = group.begin;
  for (int64_t i = 0; i < n_intervals + 2; ++i) begin[i] = 0;
  for (int64_t p = 0; p < n_pairs; ++p) ++begin[group.interval[p] + 1];
  for (int64_t i = 0; i < n_intervals; ++i) begin[i + 1] += begin[i];
  // Each begin[i] runs to the end of its interval, which is where the next one begins: shift back afterwards.
  const int32_t* receiver = group.batch.receiver + group.pairs.first_pair;
  const int32_t* sender = group.batch.sender + group.pairs.first_pair;
  const int32_t first_atom = static_cast<int32_t>(group.pairs.first_atom);
  for (int64_t p = 0; p < n_pairs; ++p) {
    const int32_t interval = group.interval[p];
    if (interval == n_intervals) continue;
    const int32_t slot = begin[interval]++;
    group.first[slot] = static_cast<uint32_t>((receiver[p] - first_atom) * kLanes);
    group.second[slot] = static_cast<uint32_t>((sender[p] - first_atom) * kLanes);
    group.sorted_place[slot] = group.place[p];
    group.order[slot] = static_cast<int32_t>(p);
  }
  for (int64_t i = n_intervals; i > 0; --i) begin[i] = begin[i - 1];
  begin[0] = 0;
}

// dE/dd / d of every pair, summed over the chunks in order.
template <typename T>
FLASHMD_INLINE void collect_slopes(const Group<T>& group) {
  const int64_t n_chunks = group.model.sizes.n_filters / kLanes, stride = group.space.n_pairs;
  const int64_t n_pairs = group.pairs.n_pairs, n_sorted = group.begin[group.model.sizes.n_intervals];
  const T per_length = T(group.model.sizes.n_intervals) / group.model.cutoff;
  for (int64_t p = 0; p < n_pairs; ++p) group.pair_slope[p] = T(0);
  for (int64_t p = 0; p < n_sorted; p += kLanes) {
    Vec<T> total = load(group.partial + p);
    for (int64_t c = 1; c < n_chunks; ++c) total += load(group.partial + c * stride + p);
    store(group.partial + p, total * per_length);
  }
  for (int64_t p = 0; p < n_sorted; ++p) {
    const int32_t pair = group.order[p];
    group.pair_slope[pair] = group.partial[p] * group.inverse_distance[pair];
  }
}

// Forces, energies and virials of the group's systems.
template <typename T>
FLASHMD_INLINE void write_result(const Group<T>& group, const SchNetResult<T>& result) {
  const SchNetGroup& own = group.pairs;
  T* forces = result.forces + 3 * own.first_atom;
  for (int64_t i = 0; i < 3 * own.n_atoms; ++i) forces[i] = T(0);
  for (int64_t system = own.first_system; system < own.first_system + own.n_systems; ++system) {
    double energy = 0.0, virial[9] = {};
    for (int64_t atom = group.batch.ptr[system]; atom < group.batch.ptr[system + 1]; ++atom) {
      energy += static_cast<double>(group.atom_energy[atom - own.first_atom]);
    }
    for (int64_t pair = group.batch.pair_ptr[system]; pair < group.batch.pair_ptr[system + 1]; ++pair) {
      const T slope = group.pair_slope[pair - own.first_pair];
      if (slope == T(0)) continue;
      T vector[3];
      pair_vector(group.batch, pair, vector);
      T* to = result.forces + 3 * int64_t{group.batch.receiver[pair]};
      T* from = result.forces + 3 * int64_t{group.batch.sender[pair]};
      for (int k = 0; k < 3; ++k) {
        to[k] += slope * vector[k];
        from[k] -= slope * vector[k];
      }
      if (!result.virial) continue;
      for (int k = 0; k < 9; ++k) virial[k] += static_cast<double>(slope * vector[k / 3] * vector[k % 3]);
    }
    result.energy[system] = energy;
    for (int k = 0; k < 9 && result.virial; ++k) result.virial[9 * system + k] = virial[k];
  }
}

}  // namespace flashmd::cpu::FLASHMD_ISA

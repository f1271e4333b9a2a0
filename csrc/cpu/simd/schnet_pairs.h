// Pairs of a group: distances, order by interval, and forces from the slopes of the energy along the pairs.
#pragma once

#include <cmath>

#include "schnet_group.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Vector from the receiver to the sender of a pair.
template <typename T>
FLASHMD_INLINE void pair_vector(const SchNetBatch<T>& batch, int64_t pair, int64_t receiver, int64_t sender,
                                T vector[3]) {
  const T *to = batch.positions + 3 * receiver, *from = batch.positions + 3 * sender;
  for (int k = 0; k < 3; ++k) vector[k] = from[k] - to[k];
  if (batch.image) {
    for (int k = 0; k < 3; ++k) vector[k] += batch.image[3 * pair + k];
  }
}

template <typename T>
FLASHMD_INLINE void pair_vector(const SchNetBatch<T>& batch, int64_t pair, T vector[3]) {
  pair_vector(batch, pair, batch.receiver[pair], batch.sender[pair], vector);
}

// The pairs of a slab of a group.
struct PairRange {
  int64_t begin, end;
};
template <typename T>
FLASHMD_INLINE PairRange pairs_of(const Group<T>& group, int64_t slab) {
  const int64_t end = (slab + 1) * kSlabPairs;
  return {slab * kSlabPairs, end < group.pairs.n_pairs ? end : group.pairs.n_pairs};
}

// Interval and place of the pairs of a slab. Pairs at the cutoff or beyond get the interval n_intervals, which is left
// out; a distance that is not a number stays in, so that it reaches the energy.
template <typename T>
FLASHMD_INLINE void locate_pairs(const Group<T>& group, int64_t slab) {
  const int32_t n_intervals = static_cast<int32_t>(group.model.sizes.n_intervals);
  const T per_length = T(n_intervals) / group.model.cutoff;
  const PairRange range = pairs_of(group, slab);
  alignas(64) T square[kLanes];
  for (int64_t first = range.begin; first < range.end; first += kLanes) {
    const int64_t n = range.end - first < kLanes ? range.end - first : kLanes;
    for (int64_t i = 0; i < n; ++i) {
      T vector[3];
      pair_vector(group.batch, group.pairs.first_pair + first + i, vector);
      square[i] = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
    }
    for (int64_t i = 0; i < kLanes; ++i) {
      const T distance = std::sqrt(square[i]), position = distance * per_length;
      const bool beyond = distance >= group.model.cutoff || position >= T(n_intervals);
      const int32_t interval = position > T(0) && !beyond ? static_cast<int32_t>(position) : 0;
      group.interval[first + i] = beyond ? n_intervals : interval;
      group.place[first + i] = position - T(interval);
      group.inverse_distance[first + i] = distance > T(0) ? T(1) / distance : distance;
    }
  }
}

// Counting sort by interval in three steps: each slab counts, the counts become places, each slab writes. Pairs of one
// interval keep their order; pairs beyond the cutoff come last.
template <typename T>
FLASHMD_INLINE void count_pairs(const Group<T>& group, int64_t slab) {
  const int64_t n_buckets = group.model.sizes.n_intervals + 1;
  int32_t* __restrict count = group.next + slab * n_buckets;
  const int32_t* __restrict interval = group.interval;
  const PairRange range = pairs_of(group, slab);
  memset(count, 0, n_buckets * sizeof(int32_t));
  for (int64_t p = range.begin; p < range.end; ++p) ++count[interval[p]];
}

template <typename T>
FLASHMD_INLINE void place_counts(const Group<T>& group) {
  const int64_t n_buckets = group.model.sizes.n_intervals + 1;
  int32_t total = 0;
  for (int64_t i = 0; i < n_buckets; ++i) {
    group.begin[i] = total;
    for (int64_t slab = 0; slab < group.space.n_slabs; ++slab) {
      const int32_t count = group.next[slab * n_buckets + i];
      group.next[slab * n_buckets + i] = total;
      total += count;
    }
  }
}

template <typename T>
FLASHMD_INLINE void sort_pairs(const Group<T>& group, int64_t slab) {
  const int32_t* __restrict interval = group.interval;
  const T* __restrict place = group.place;
  const int32_t* __restrict receiver = group.batch.receiver + group.pairs.first_pair;
  const int32_t* __restrict sender = group.batch.sender + group.pairs.first_pair;
  int32_t* __restrict next = group.next + slab * (group.model.sizes.n_intervals + 1);
  PlacedPair<T>* __restrict sorted = group.sorted_pairs;
  const int32_t first_atom = static_cast<int32_t>(group.pairs.first_atom);
  const PairRange range = pairs_of(group, slab);
  for (int64_t p = range.begin; p < range.end; ++p) {
    const auto first = static_cast<uint32_t>((receiver[p] - first_atom) * kLanes);
    const auto second = static_cast<uint32_t>((sender[p] - first_atom) * kLanes);
    sorted[next[interval[p]]++] = {first, second, place[p], static_cast<int32_t>(p)};
  }
}

// Forces from the sorted pairs of a slab on all atoms of the group. The order of summation is that of the sorted pairs,
// on which pairs beyond the cutoff have no influence. With kVirial also dE/dd / d of these pairs, in the order of the
// list, which scatters them over lines that other threads write to.
template <bool kVirial, typename T>
FLASHMD_INLINE void add_forces(const Group<T>& group, int64_t slab) {
  const int64_t n_passes = group.n_passes(), stride = group.space.n_pairs;
  const int64_t n_within = group.begin[group.model.sizes.n_intervals];
  const T per_length = T(group.model.sizes.n_intervals) / group.model.cutoff;
  T* forces = group.slabs + slab * 3 * group.space.n_rows;
  memset(forces, 0, 3 * group.space.n_rows * sizeof(T));
  const PairRange range = pairs_of(group, slab);
  for (int64_t first = range.begin; first < range.end; first += kLanes) {
    Vec<T> total = load(group.partial + first);
    for (int64_t i = 1; i < n_passes; ++i) total += load(group.partial + i * stride + first);
    alignas(64) T slopes[kLanes];
    store(slopes, total * per_length);
    for (int64_t p = first; p < first + kLanes && p < range.end; ++p) {
      const PlacedPair<T>& pair = group.sorted_pairs[p];
      const T slope = p < n_within ? slopes[p - first] * group.inverse_distance[pair.source] : T(0);
      if constexpr (kVirial) group.pair_slope[pair.source] = slope;
      if (p >= n_within) continue;
      const int64_t receiver = pair.first / kLanes, sender = pair.second / kLanes, first_atom = group.pairs.first_atom;
      T vector[3];
      pair_vector(group.batch, group.pairs.first_pair + pair.source, first_atom + receiver, first_atom + sender,
                  vector);
      T *to = forces + receiver * 3, *from = forces + sender * 3;
      for (int k = 0; k < 3; ++k) {
        to[k] += slope * vector[k];
        from[k] -= slope * vector[k];
      }
    }
  }
}

template <typename T>
FLASHMD_INLINE void write_virial(const Group<T>& group, int64_t system, double* virial) {
  for (int k = 0; k < 9; ++k) virial[k] = 0.0;
  for (int64_t pair = group.batch.pair_ptr[system]; pair < group.batch.pair_ptr[system + 1]; ++pair) {
    const T slope = group.pair_slope[pair - group.pairs.first_pair];
    T vector[3];
    pair_vector(group.batch, pair, vector);
    for (int k = 0; k < 9; ++k) virial[k] += static_cast<double>(slope * vector[k / 3] * vector[k % 3]);
  }
}

// Forces, energies and virials of the group's systems.
template <typename T>
FLASHMD_INLINE void write_result(const Group<T>& group, const SchNetResult<T>& result) {
  const SchNetGroup& own = group.pairs;
  T* forces = result.forces + 3 * own.first_atom;
  for (int64_t i = 0; i < 3 * own.n_atoms; ++i) {
    forces[i] = T(0);
    for (int64_t slab = 0; slab < group.space.n_slabs; ++slab) {
      forces[i] += group.slabs[slab * 3 * group.space.n_rows + i];
    }
  }
  for (int64_t system = own.first_system; system < own.first_system + own.n_systems; ++system) {
    double energy = 0.0;
    for (int64_t atom = group.batch.ptr[system]; atom < group.batch.ptr[system + 1]; ++atom) {
      energy += static_cast<double>(group.atom_energy[atom - own.first_atom]);
    }
    result.energy[system] = energy;
    if (result.virial) write_virial(group, system, result.virial + 9 * system);
  }
}

}  // namespace flashmd::cpu::FLASHMD_ISA

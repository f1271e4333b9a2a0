// Pairs of a group: distances, order by interval, and forces from the slopes of the energy along the pairs.
#pragma once

#include <cmath>

#if defined(FLASHMD_ISA_AVX512)
#include <immintrin.h>
#endif

#include "schnet_group.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Three coordinates and a number that no one reads: one load or store.
template <typename T>
struct FourNumbers {
  typedef T Type __attribute__((vector_size(4 * sizeof(T))));
};
template <typename T>
using Four = typename FourNumbers<T>::Type;

template <typename T>
FLASHMD_INLINE Four<T> load_four(const T* from) {
  Four<T> value;
  memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
FLASHMD_INLINE void store_four(T* to, const Four<T>& value) {
  memcpy(to, &value, sizeof value);
}

// Copy the positions of the atoms, so that each can be loaded at once.
template <typename T>
FLASHMD_INLINE void copy_positions(const Group<T>& group) {
  const T* from = group.batch.positions + 3 * group.pairs.first_atom;
  for (int64_t atom = 0; atom < group.pairs.n_atoms; ++atom) {
    store_four(group.points + 4 * atom, Four<T>{from[3 * atom], from[3 * atom + 1], from[3 * atom + 2], T(0)});
  }
}

// Vector from the receiver to the sender of a pair; all three are counted within the group.
template <typename T>
FLASHMD_INLINE Four<T> pair_vector(const Group<T>& group, int64_t pair, int64_t receiver, int64_t sender) {
  Four<T> vector = load_four(group.points + 4 * sender) - load_four(group.points + 4 * receiver);
  if (group.batch.image) {
    const T* image = group.batch.image + 3 * (group.pairs.first_pair + pair);
    vector += Four<T>{image[0], image[1], image[2], T(0)};
  }
  return vector;
}

template <typename T>
FLASHMD_INLINE Four<T> pair_vector(const Group<T>& group, int64_t pair) {
  const int64_t index = group.pairs.first_pair + pair, first_atom = group.pairs.first_atom;
  return pair_vector(group, pair, group.batch.receiver[index] - first_atom, group.batch.sender[index] - first_atom);
}

// Squares of the lengths of n consecutive pairs, at most sixteen; what stands beyond them is any finite number.
template <typename T>
FLASHMD_INLINE void square_lengths(const Group<T>& group, int64_t first, int64_t n, T* square) {
  for (int64_t i = 0; i < n; ++i) {
    const Four<T> vector = pair_vector(group, first + i);
    square[i] = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
  }
}

#if defined(FLASHMD_ISA_AVX512)
template <>
FLASHMD_INLINE void square_lengths(const Group<float>& group, int64_t first, int64_t n, float* square) {
  const __mmask16 wanted = static_cast<__mmask16>((1u << n) - 1u);
  const int64_t pair = group.pairs.first_pair + first;
  const __m512i first_atom = _mm512_set1_epi32(static_cast<int32_t>(group.pairs.first_atom));
  const auto points_of = [&](const int32_t* atoms) FLASHMD_INLINE_BODY {
    const __m512i atom = _mm512_maskz_loadu_epi32(wanted, atoms + pair);
    return _mm512_slli_epi32(_mm512_maskz_sub_epi32(wanted, atom, first_atom), 2);
  };
  const __m512i to = points_of(group.batch.receiver), from = points_of(group.batch.sender);
  const __m512i triple = _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45);
  const auto part = [&](int k) FLASHMD_INLINE_BODY {
    const float* points = group.points + k;
    const __m512 step = _mm512_sub_ps(_mm512_i32gather_ps(from, points, 4), _mm512_i32gather_ps(to, points, 4));
    if (!group.batch.image) return step;
    const float* image = group.batch.image + 3 * pair + k;
    return _mm512_add_ps(step, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), wanted, triple, image, 4));
  };
  const __m512 x = part(0), y = part(1), z = part(2);
  _mm512_storeu_ps(square, _mm512_fmadd_ps(z, z, _mm512_fmadd_ps(x, x, _mm512_mul_ps(y, y))));
}
#endif

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
  alignas(64) T square[kLanes] = {};
  for (int64_t first = range.begin; first < range.end; first += kLanes) {
    const int64_t n = range.end - first < kLanes ? range.end - first : kLanes;
    square_lengths(group, first, n, square);
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
    sorted[next[interval[p]]++] = {join_rows(first, second), place[p], static_cast<int32_t>(p)};
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
  T* forces = group.slabs + slab * 4 * group.space.n_rows;
  memset(forces, 0, 4 * group.space.n_rows * sizeof(T));
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
      const auto [receiver, sender] = rows_of(pair.atoms);
      const Four<T> push = slope * pair_vector(group, pair.source, receiver / kLanes, sender / kLanes);
      T *to = forces + receiver / kLanes * 4, *from = forces + sender / kLanes * 4;
      store_four(to, load_four(to) + push);
      store_four(from, load_four(from) - push);
    }
  }
}

template <typename T>
FLASHMD_INLINE void write_virial(const Group<T>& group, int64_t system, double* virial) {
  for (int k = 0; k < 9; ++k) virial[k] = 0.0;
  for (int64_t pair = group.batch.pair_ptr[system]; pair < group.batch.pair_ptr[system + 1]; ++pair) {
    const T slope = group.pair_slope[pair - group.pairs.first_pair];
    const Four<T> vector = pair_vector(group, pair - group.pairs.first_pair);
    for (int k = 0; k < 9; ++k) virial[k] += static_cast<double>(slope * vector[k / 3] * vector[k % 3]);
  }
}

// Forces, energies and virials of the group's systems.
template <typename T>
FLASHMD_INLINE void write_result(const Group<T>& group, const SchNetResult<T>& result) {
  const SchNetGroup& own = group.pairs;
  T* forces = result.forces + 3 * own.first_atom;
  for (int64_t atom = 0; atom < own.n_atoms; ++atom) {
    Four<T> total{};
    for (int64_t slab = 0; slab < group.space.n_slabs; ++slab) {
      total += load_four(group.slabs + (slab * group.space.n_rows + atom) * 4);
    }
    for (int k = 0; k < 3; ++k) forces[3 * atom + k] = total[k];
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

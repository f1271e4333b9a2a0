// Continuous-filter convolution over pairs with filters from a table, sixteen channels at a time.
//
// The pairs are sorted by the interval of the table that their distance falls into. The cubic of an interval stays in
// registers over the run of its pairs, and the channels of all atoms of a molecule stay in the first cache, so a pair
// costs little more than loading its two atoms. Both atoms of a pair receive: each pair occurs once.
#pragma once

#include "../../include/hermite.h"
#include "lane_sums.h"

namespace flashmd::cpu::FLASHMD_ISA {

// A pair within a group of atoms. Both atoms are in one word: loads are what the loops over pairs wait for.
template <typename T>
struct alignas(4 * sizeof(T)) PlacedPair {
  uint64_t atoms;  // 16 times the index of the first atom, and in the upper half that of the second
  T place;         // where in its interval the distance lies, from 0 to 1
  int32_t source;  // number of the pair before sorting
};
struct PairRows {
  uint32_t first, second;  // where the rows of the atoms begin in a matrix [n_atoms, 16]
};

FLASHMD_INLINE uint64_t join_rows(uint32_t first, uint32_t second) {
  return first | uint64_t{second} << 32;
}
FLASHMD_INLINE PairRows rows_of(uint64_t atoms) {
  return {static_cast<uint32_t>(atoms), static_cast<uint32_t>(atoms >> 32)};
}

// Pairs in the order of their intervals.
template <typename T>
struct SortedPairs {
  const PlacedPair<T>* pair;  // [n_pairs]
  const int32_t* begin;       // [n_intervals + 1], first pair of each interval
  int64_t n_intervals;
};

// The cubics of one interval; a knot holds sixteen values and sixteen slopes per interval.
template <typename T>
FLASHMD_INLINE Cubic<Vec<T>> cubic_of(const T* table, int64_t interval) {
  const T* knot = table + interval * 2 * kLanes;
  return hermite(load(knot), load(knot + kLanes), load(knot + 2 * kLanes), load(knot + 3 * kLanes));
}

// out[t] += in[s] W and out[s] += in[t] W for a pair (t, s).
template <typename T>
FLASHMD_INLINE void exchange(const T* in, T* out, PairRows rows, const Vec<T>& filter) {
  const auto [t, s] = rows;
  store(out + t, load(out + t) + load(in + s) * filter);
  store(out + s, load(out + s) + load(in + t) * filter);
}

// The same for every pair; in and out are [n_atoms, 16].
template <typename T>
FLASHMD_INLINE void convolve_chunk(SortedPairs<T> pairs, const T* table, const T* in, T* out) {
  for (int64_t interval = 0; interval < pairs.n_intervals; ++interval) {
    const int32_t begin = pairs.begin[interval], end = pairs.begin[interval + 1];
    if (begin == end) continue;
    const Cubic<Vec<T>> cubic = cubic_of(table, interval);
    int32_t p = begin;
    // Two at a time: the second filter needs nothing of what the first pair stores.
    for (; p + 1 < end; p += 2) {
      const PlacedPair<T>&one = pairs.pair[p], &other = pairs.pair[p + 1];
      const PairRows rows = rows_of(one.atoms), other_rows = rows_of(other.atoms);
      const Vec<T> filter = cubic.value(splat(one.place)), other_filter = cubic.value(splat(other.place));
      exchange(in, out, rows, filter);
      exchange(in, out, other_rows, other_filter);
    }
    if (p < end) exchange(in, out, rows_of(pairs.pair[p].atoms), cubic.value(splat(pairs.pair[p].place)));
  }
}

// Chunks that pull_back_chunks takes in one pass: two where the cubics of both fit in the registers, since index, place
// and the sum over lanes then serve twice as many channels.
template <typename T>
constexpr int kPassChunks = Vec<T>::kParts == 1 ? 2 : 1;

// Numbers from one chunk to the next.
struct ChunkStrides {
  int64_t table, matrix;
};

// slope[p] += sum over kChunks chunks of (left[t] right[s] + left[s] right[t]) dW/du for every pair. With kConvolve
// also convolve_chunk(left, out) for each of them: both read the same rows. slope has a multiple of 16 entries.
template <bool kConvolve, int kChunks, typename T>
FLASHMD_INLINE void pull_back_chunks(SortedPairs<T> pairs, const T* table, const T* left, const T* right, T* slope,
                                     T* out, ChunkStrides strides) {
  alignas(64) T products[kLanes * kLanes];
  for (int64_t interval = 0; interval < pairs.n_intervals; ++interval) {
    const int32_t begin = pairs.begin[interval], end = pairs.begin[interval + 1];
    if (begin == end) continue;
    Cubic<Vec<T>> cubic[kChunks];
    CubicSlope<Vec<T>> derivative[kChunks];
    for (int c = 0; c < kChunks; ++c) {
      cubic[c] = cubic_of(table + c * strides.table, interval);
      derivative[c] = slope_of(cubic[c]);
    }
#pragma GCC unroll 2
    for (int32_t p = begin; p < end; ++p) {
      const PlacedPair<T>& pair = pairs.pair[p];
      const auto [t, s] = rows_of(pair.atoms);
      const Vec<T> place = splat(pair.place);
      Vec<T> total;
#pragma GCC unroll 2
      for (int c = 0; c < kChunks; ++c) {
        const T *l = left + c * strides.matrix, *r = right + c * strides.matrix;
        const Vec<T> left_t = load(l + t), left_s = load(l + s);
        const Vec<T> product = left_t * load(r + s) + left_s * load(r + t);
        const Vec<T> change = product * derivative[c].value(place);
        total = c == 0 ? change : total + change;
        if constexpr (kConvolve) {
          T* o = out + c * strides.matrix;
          const Vec<T> filter = cubic[c].value(place);
          store(o + t, load(o + t) + left_s * filter);
          store(o + s, load(o + s) + left_t * filter);
        }
      }
      const uint32_t row = static_cast<uint32_t>(p) % kLanes;
      store(products + row * kLanes, total);
      if (row == kLanes - 1) add_lane_sums(products, slope + p - (kLanes - 1));
    }
  }
  const int32_t n_pairs = pairs.begin[pairs.n_intervals], rest = n_pairs % kLanes;
  if (rest == 0) return;
  memset(products + rest * kLanes, 0, (kLanes - rest) * kLanes * sizeof(T));
  add_lane_sums(products, slope + n_pairs - rest);
}

}  // namespace flashmd::cpu::FLASHMD_ISA

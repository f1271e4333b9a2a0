// Continuous-filter convolution over pairs with filters from a table, sixteen channels at a time.
//
// The pairs are sorted by the interval of the table that their distance falls into. The cubic of an interval stays in
// registers over the run of its pairs, and the channels of all atoms of a molecule stay in the first cache, so a pair
// costs little more than loading its two atoms. Both atoms of a pair receive: each pair occurs once.
#pragma once

#include "../../include/hermite.h"
#include "lane_sums.h"

namespace flashmd::cpu::FLASHMD_ISA {

// A pair within a group of atoms.
template <typename T>
struct alignas(4 * sizeof(T)) PlacedPair {
  uint32_t first, second;  // 16 times the index of an atom
  T place;                 // where in its interval the distance lies, from 0 to 1
  int32_t source;          // number of the pair before sorting
};

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

// out[t] += in[s] W and out[s] += in[t] W for every pair (t, s); in and out are [n_atoms, 16].
template <typename T>
FLASHMD_INLINE void convolve_chunk(SortedPairs<T> pairs, const T* table, const T* in, T* out) {
  for (int64_t interval = 0; interval < pairs.n_intervals; ++interval) {
    const int32_t begin = pairs.begin[interval], end = pairs.begin[interval + 1];
    if (begin == end) continue;
    const Cubic<Vec<T>> cubic = cubic_of(table, interval);
    for (int32_t p = begin; p < end; ++p) {
      const PlacedPair<T>& pair = pairs.pair[p];
      const uint32_t t = pair.first, s = pair.second;
      const Vec<T> filter = cubic.value(splat(pair.place));
      store(out + t, load(out + t) + load(in + s) * filter);
      store(out + s, load(out + s) + load(in + t) * filter);
    }
  }
}

// slope[p] += sum over the chunk of (left[t] right[s] + left[s] right[t]) dW/du for every pair. Where `out` is given,
// also convolve_chunk(left, out): both read the same rows. slope has a multiple of 16 entries.
template <bool kConvolve, typename T>
FLASHMD_INLINE void pull_back_chunk(SortedPairs<T> pairs, const T* table, const T* left, const T* right, T* slope,
                                    T* out) {
  alignas(64) T products[kLanes * kLanes];
  for (int64_t interval = 0; interval < pairs.n_intervals; ++interval) {
    const int32_t begin = pairs.begin[interval], end = pairs.begin[interval + 1];
    if (begin == end) continue;
    const Cubic<Vec<T>> cubic = cubic_of(table, interval);
    const CubicSlope<Vec<T>> derivative = slope_of(cubic);
    for (int32_t p = begin; p < end; ++p) {
      const PlacedPair<T>& pair = pairs.pair[p];
      const uint32_t t = pair.first, s = pair.second;
      const Vec<T> place = splat(pair.place), left_t = load(left + t), left_s = load(left + s);
      const Vec<T> product = left_t * load(right + s) + left_s * load(right + t);
      store(products + p % kLanes * kLanes, product * derivative.value(place));
      if constexpr (kConvolve) {
        const Vec<T> filter = cubic.value(place);
        store(out + t, load(out + t) + left_s * filter);
        store(out + s, load(out + s) + left_t * filter);
      }
      if (p % kLanes == kLanes - 1) add_lane_sums(products, slope + p - (kLanes - 1));
    }
  }
  const int32_t n_pairs = pairs.begin[pairs.n_intervals], rest = n_pairs % kLanes;
  if (rest == 0) return;
  memset(products + rest * kLanes, 0, (kLanes - rest) * kLanes * sizeof(T));
  add_lane_sums(products, slope + n_pairs - rest);
}

}  // namespace flashmd::cpu::FLASHMD_ISA

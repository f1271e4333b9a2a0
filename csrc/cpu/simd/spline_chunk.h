// Pieces of the loops over pairs: partial vectors, cubics in sixteen channels, sums over channels.
#pragma once

#include <utility>

#include "../../include/hermite.h"
#include "vector.h"

namespace flashmd::cpu::FLASHMD_ISA {

// The first `width` lanes, the others zero.
template <typename T>
FLASHMD_INLINE Vec<T> load_some(const T* from, int64_t width) {
  if (width == kLanes) return load(from);
  T lanes[kLanes] = {};
  for (int64_t lane = 0; lane < width; ++lane) lanes[lane] = from[lane];
  return load(lanes);
}

template <typename T>
FLASHMD_INLINE void store_some(T* to, Vec<T> value, int64_t width) {
  if (width == kLanes) return store(to, value);
  T lanes[kLanes];
  store(lanes, value);
  for (int64_t lane = 0; lane < width; ++lane) to[lane] = lanes[lane];
}

template <typename T>
FLASHMD_INLINE void add(T* to, Vec<T> value) {
  store(to, load(to) + value);
}

template <typename T>
FLASHMD_INLINE void add_some(T* to, Vec<T> value, int64_t width) {
  store_some(to, load_some(to, width) + value, width);
}

// Powers of the fraction of an interval; or the gradient with respect to them.
template <typename T>
struct Cubic {
  Vec<T> c0, c1, c2, c3;
};

// Values and scaled slopes at both ends of an interval; or the gradient with respect to them.
template <typename T>
struct Hermite {
  Vec<T> value, slope, next_value, next_slope;
};

// The polynomial between two knots (de Boor, doi:10.1007/978-1-4612-6333-3, chapter IV).
template <typename T>
FLASHMD_INLINE Cubic<T> between(const Hermite<T>& ends) {
  const auto cubic = flashmd::hermite(ends.value, ends.slope, ends.next_value, ends.next_slope);
  return {cubic.c0, cubic.c1, cubic.c2, cubic.c3};
}

// The transpose of `between`.
template <typename T>
FLASHMD_INLINE Hermite<T> to_ends(const Cubic<T>& grad) {
  const Vec<T> bend = grad.c3 - grad.c2, rise = grad.c2 - (bend + bend);
  return {grad.c0 - rise, grad.c1 - grad.c2 + bend, rise, bend};
}

template <typename T>
struct Quadratic {
  Vec<T> c0, c1, c2;
};

template <typename T>
struct Line {
  Vec<T> c0, c1;
};

template <typename T>
FLASHMD_INLINE Vec<T> value(const Cubic<T>& c, Vec<T> u) {
  return ((c.c3 * u + c.c2) * u + c.c1) * u + c.c0;
}

template <typename T>
FLASHMD_INLINE Vec<T> value(const Quadratic<T>& c, Vec<T> u) {
  return (c.c2 * u + c.c1) * u + c.c0;
}

template <typename T>
FLASHMD_INLINE Vec<T> value(const Line<T>& c, Vec<T> u) {
  return c.c1 * u + c.c0;
}

template <typename T>
FLASHMD_INLINE Quadratic<T> derivative(const Cubic<T>& c) {
  return {c.c1, c.c2 + c.c2, c.c3 * T(3)};
}

template <typename T>
FLASHMD_INLINE Line<T> derivative(const Quadratic<T>& c) {
  return {c.c1, c.c2 + c.c2};
}

// sum_k += product u^k: the gradient of product * value(c, u) with respect to the coefficients.
template <typename T>
FLASHMD_INLINE void accumulate(Cubic<T>& sum, Vec<T> product, Vec<T> u) {
  sum.c0 += product;
  product *= u;
  sum.c1 += product;
  product *= u;
  sum.c2 += product;
  sum.c3 += product * u;
}

// sum_k += product u^k + by_slope k u^(k - 1): the gradient of product * value(c, u) + by_slope * value(derivative(c),
// u).
template <typename T>
FLASHMD_INLINE void accumulate(Cubic<T>& sum, const Vec<T>& product, const Vec<T>& by_slope, const Vec<T>& u) {
  const Vec<T> first = product * u + by_slope, second = (first + by_slope) * u;
  sum.c0 += product;
  sum.c1 += first;
  sum.c2 += second;
  sum.c3 += (second + by_slope * u) * u;
}

// Lane k of block b, blocks being 2 kHalf wide, becomes the sum of lanes k and k + kHalf of that block: of `left` in
// the first half of the block, of `right` in the second.
template <int kHalf, typename Register, int... kLane>
FLASHMD_INLINE Register fold(Register left, Register right, std::integer_sequence<int, kLane...>) {
  constexpr int kWidth = sizeof...(kLane), kBlock = 2 * kHalf;
  return __builtin_shufflevector(left, right, (kLane % kBlock < kHalf ? kLane : kLane - kHalf + kWidth)...) +
         __builtin_shufflevector(left, right, (kLane % kBlock < kHalf ? kLane + kHalf : kLane + kWidth)...);
}

// Lane j of the result is the sum of the lanes of rows[j], for as many rows as there are lanes; overwrites the rows.
template <int kHalf, typename Register>
FLASHMD_INLINE Register fold_rows(Register* rows) {
  if constexpr (kHalf == 0) {
    return rows[0];
  } else {
    constexpr int kWidth = sizeof(Register) / sizeof(rows[0][0]);
    using Lanes = std::make_integer_sequence<int, kWidth>;
    for (int j = 0; j < kHalf; ++j) rows[j] = fold<kHalf>(rows[j], rows[j + kHalf], Lanes{});
    return fold_rows<kHalf / 2>(rows);
  }
}

// Lane j of the result is the sum of the lanes of row j, added in the order of sum().
template <typename T>
FLASHMD_INLINE Vec<T> row_sums(const T* rows) {
  constexpr int kWidth = Vec<T>::kWidth, kParts = Vec<T>::kParts;
  Vec<T> result;
  for (int i = 0; i < kParts; ++i) {
    typename Vec<T>::Register row[kWidth];
    for (int j = 0; j < kWidth; ++j) {
      Vec<T> whole = load(rows + (i * kWidth + j) * kLanes);
      for (int half = kParts / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; ++k) whole.part[k] += whole.part[k + half];
      }
      row[j] = whole.part[0];
    }
    result.part[i] = fold_rows<kWidth / 2>(row);
  }
  return result;
}

// Sums over the lanes of one vector for each of consecutive pairs, sixteen pairs at a time.
template <typename T>
class LaneSums {
public:
  // The sum of pair `first` and those after it are written to out[first] and so on; `rows` are sixteen vectors.
  FLASHMD_INLINE LaneSums(T* out, T* rows, int64_t first) : out_(out), rows_(rows), first_(first) {}

  // `pair` follows the one before.
  FLASHMD_INLINE void add(int64_t pair, const Vec<T>& value) {
    const int64_t row = (pair - first_) % kLanes;
    store(rows_ + row * kLanes, value);
    if (row == kLanes - 1) store(out_ + pair - row, row_sums<T>(rows_));
  }

  // Write what is left of the pairs before `last`.
  FLASHMD_INLINE void finish(int64_t last) {
    const int64_t left = (last - first_) % kLanes;
    for (int64_t row = 0; row < left; ++row) out_[last - left + row] = sum<T>(load(rows_ + row * kLanes));
  }

private:
  T* out_;
  T* rows_;
  int64_t first_;
};

}  // namespace flashmd::cpu::FLASHMD_ISA

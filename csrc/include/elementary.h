// Exponential and activation functions, written once for numbers and for vectors of numbers.
//
// V is float, double or a GCC vector of them. The algorithms have no branches, so that a vector of numbers runs them as
// they stand; on a GPU the same code runs for each thread.
#pragma once

#include <cmath>

#include "host_device.h"

namespace flashmd {

// How to treat V: the number type of a lane, the integer type of its bits, and a choice between two values by lane.
template <typename V>
struct Lanes;

template <>
struct Lanes<float> {
  using Number = float;
  using Integer = int32_t;
  using Bits = int32_t;
};
template <>
struct Lanes<double> {
  using Number = double;
  using Integer = int64_t;
  using Bits = int64_t;
};

template <typename V>
FLASHMD_HOST_DEVICE typename Lanes<V>::Bits bits_of_lanes(V value) {
  typename Lanes<V>::Bits bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <typename V>
FLASHMD_HOST_DEVICE V lanes_of_bits(typename Lanes<V>::Bits bits) {
  V value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Where `condition` holds `yes`, elsewhere `no`; the condition is a comparison of two V.
template <typename C, typename V>
FLASHMD_HOST_DEVICE V choose(C condition, V yes, V no) {
  return condition ? yes : no;
}

// Whether a lane of V is single precision, which needs fewer terms of every series.
template <typename V>
constexpr bool kIsSingle = sizeof(typename Lanes<V>::Number) == 4;

// Round to the nearest integer n, also given as 2^n.
template <typename V>
FLASHMD_HOST_DEVICE V nearest_power(V x, V& power) {
  using T = typename Lanes<V>::Number;
  using I = typename Lanes<V>::Integer;
  // Adding and subtracting 1.5 2^p rounds to an integer, which then stands in the low bits of the sum.
  constexpr T kRound = kIsSingle<V> ? T(12582912.0) : T(6755399441055744.0);
  const V shifted = x + kRound;
  power = lanes_of_bits<V>((bits_of_lanes(shifted) + I(kIsSingle<V> ? 127 : 1023)) << I(kIsSingle<V> ? 23 : 52));
  return shifted - kRound;
}

// (exp(r) - 1) / r for |r| <= ln 2 / 2 by its Taylor polynomial.
template <typename V>
FLASHMD_HOST_DEVICE V exponential_quotient(V r) {
  using T = typename Lanes<V>::Number;
  V p = V{};
  if constexpr (kIsSingle<V>) {
    p = p + T(1.0 / 5040);
  } else {
    p = p + T(1.0 / 6227020800);
    p = p * r + T(1.0 / 479001600);
    p = p * r + T(1.0 / 39916800);
    p = p * r + T(1.0 / 3628800);
    p = p * r + T(1.0 / 362880);
    p = p * r + T(1.0 / 40320);
    p = p * r + T(1.0 / 5040);
  }
  p = p * r + T(1.0 / 720);
  p = p * r + T(1.0 / 120);
  p = p * r + T(1.0 / 24);
  p = p * r + T(1.0 / 6);
  p = p * r + T(0.5);
  return p * r + T(1.0);
}

// exp(x) - 1 without loss of digits near zero: x = n ln 2 + r, exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1).
// Arguments are clamped to the range in which exp(x) is a normal number.
template <typename V>
FLASHMD_HOST_DEVICE V exponential_minus_one(V x) {
  using T = typename Lanes<V>::Number;
  constexpr T kLowest = kIsSingle<V> ? T(-87.0) : T(-708.0), kHighest = kIsSingle<V> ? T(88.0) : T(709.0);
  x = choose(x < kLowest, V{} + kLowest, choose(x > kHighest, V{} + kHighest, x));
  constexpr T kHigh = kIsSingle<V> ? T(0.693359375) : T(0.693147180369123816490);
  constexpr T kLow = kIsSingle<V> ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
  V power;
  const V n = nearest_power(x * T(1.4426950408889634), power);
  const V r = (x - n * kHigh) - n * kLow;
  return power * (r * exponential_quotient(r)) + (power - T(1));
}

// exp(x) to a few units in the last place.
template <typename V>
FLASHMD_HOST_DEVICE V exponential(V x) {
  using T = typename Lanes<V>::Number;
  constexpr T kLowest = kIsSingle<V> ? T(-87.0) : T(-708.0), kHighest = kIsSingle<V> ? T(88.0) : T(709.0);
  x = choose(x < kLowest, V{} + kLowest, choose(x > kHighest, V{} + kHighest, x));
  constexpr T kHigh = kIsSingle<V> ? T(0.693359375) : T(0.693147180369123816490);
  constexpr T kLow = kIsSingle<V> ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
  V power;
  const V n = nearest_power(x * T(1.4426950408889634), power);
  const V r = (x - n * kHigh) - n * kLow;
  return power * (r * exponential_quotient(r) + T(1));
}

// ln(1 + z) for 0 <= z <= 1: 2 atanh(s) with s = z / (2 + z) <= 1/3.
template <typename V>
FLASHMD_HOST_DEVICE V logarithm_of_one_plus(V z) {
  using T = typename Lanes<V>::Number;
  const V s = z / (z + T(2));
  const V square = s * s;
  constexpr int kTerms = kIsSingle<V> ? 8 : 17;
  V p = V{} + T(1) / T(2 * kTerms + 1);
  for (int k = kTerms - 1; k >= 0; --k) p = p * square + T(1) / T(2 * k + 1);
  return (s + s) * p;
}

}  // namespace flashmd

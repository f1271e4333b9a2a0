// Activation functions with their derivatives, for numbers and vectors of numbers (see elementary.h).
#pragma once

#include "elementary.h"
#include "jet.h"

namespace flashmd {

enum class Activation : int { tanh = 0, shifted_softplus = 1, silu = 2 };

template <typename V>
struct ValueAndSlope {
  V value, slope;
};

// tanh x = (exp(2|x|) - 1) / (exp(2|x|) + 1), with the sign of x.
template <typename V>
FLASHMD_HOST_DEVICE V hyperbolic_tangent(V x) {
  using T = typename Lanes<V>::Number;
  const V size = choose(x < T(0), -x, x);
  const V doubled = choose(size > T(20), V{} + T(40), size + size);  // 1 - tanh(20) is below either precision
  const V grown = exponential_minus_one(doubled);
  const V result = grown / (grown + T(2));
  return choose(x < T(0), -result, result);
}

// 1 / (1 + exp(-x)).
template <typename V>
FLASHMD_HOST_DEVICE V logistic(V x) {
  using T = typename Lanes<V>::Number;
  return T(1) / (T(1) + exponential(-x));
}

// ln(1 + exp(x)) - ln 2.
template <typename V>
FLASHMD_HOST_DEVICE V shifted_softplus(V x) {
  using T = typename Lanes<V>::Number;
  const V size = choose(x < T(0), -x, x);
  const V positive = choose(x < T(0), V{}, x);
  return positive + logarithm_of_one_plus(exponential(-size)) - T(0.69314718055994530942);
}

template <typename V>
FLASHMD_HOST_DEVICE ValueAndSlope<V> activate(Activation kind, V x) {
  using T = typename Lanes<V>::Number;
  if (kind == Activation::tanh) {
    const V value = hyperbolic_tangent(x);
    return {value, T(1) - value * value};
  }
  const V gate = logistic(x);
  if (kind == Activation::shifted_softplus) return {shifted_softplus(x), gate};
  return {x * gate, gate * (T(1) + x * (T(1) - gate))};
}

// The same with the second derivative.
template <typename V>
FLASHMD_HOST_DEVICE Jet<V> activate_twice(Activation kind, V x) {
  using T = typename Lanes<V>::Number;
  if (kind == Activation::tanh) {
    const V value = hyperbolic_tangent(x), slope = T(1) - value * value;
    return {value, slope, value * slope * T(-2)};
  }
  const V gate = logistic(x), steepness = gate * (T(1) - gate);
  if (kind == Activation::shifted_softplus) return {shifted_softplus(x), gate, steepness};
  return {x * gate, gate + x * steepness, steepness * (T(2) + x * (T(1) - gate - gate))};
}

}  // namespace flashmd

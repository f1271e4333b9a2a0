// Cubic Hermite interpolation on one interval of a uniform grid.
#pragma once

#include "host_device.h"

namespace flashmd {

// W(u) = c0 + u (c1 + u (c2 + u c3)) for 0 <= u <= 1; V is a number or a vector of them.
template <typename V>
struct Cubic {
  V c0, c1, c2, c3;

  template <typename U>
  FLASHMD_HOST_DEVICE V value(U u) const {
    return c0 + u * (c1 + u * (c2 + u * c3));
  }
};

// Its derivative by u: b0 + u (b1 + u b2).
template <typename V>
struct CubicSlope {
  V b0, b1, b2;

  template <typename U>
  FLASHMD_HOST_DEVICE V value(U u) const {
    return b0 + u * (b1 + u * b2);
  }
};

// The cubic with values v0, v1 and derivatives m0, m1 by u at the ends. Neighbouring intervals share these numbers, so
// value and slope are continuous.
template <typename V>
FLASHMD_HOST_DEVICE Cubic<V> hermite(V v0, V m0, V v1, V m1) {
  const V rise = v1 - v0;
  return {v0, m0, (rise - m0) + (rise - m0) + (rise - m1), (m0 - rise) + (m1 - rise)};
}

// What the numbers at the ends of the interval contribute to the value, or to the first or second derivative by u.
template <typename V>
struct HermiteWeights {
  V v0, m0, v1, m1;
};

template <typename V>
FLASHMD_HOST_DEVICE HermiteWeights<V> hermite_weights(V u) {
  const V square = u * u, rest = V(1) - u, v1 = square * (V(3) - (u + u));
  return {V(1) - v1, u * rest * rest, v1, -square * rest};
}

template <typename V>
FLASHMD_HOST_DEVICE HermiteWeights<V> hermite_slope_weights(V u) {
  const V rest = V(1) - u, v1 = V(6) * u * rest;
  return {-v1, rest * (rest - (u + u)), v1, u * (u - (rest + rest))};
}

template <typename V>
FLASHMD_HOST_DEVICE HermiteWeights<V> hermite_curvature_weights(V u) {
  const V v1 = V(6) - V(12) * u;
  return {-v1, V(6) * u - V(4), v1, V(6) * u - V(2)};
}

template <typename V>
FLASHMD_HOST_DEVICE CubicSlope<V> slope_of(const Cubic<V>& cubic) {
  return {cubic.c1, cubic.c2 + cubic.c2, cubic.c3 + cubic.c3 + cubic.c3};
}

}  // namespace flashmd

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

template <typename V>
FLASHMD_HOST_DEVICE CubicSlope<V> slope_of(const Cubic<V>& cubic) {
  return {cubic.c1, cubic.c2 + cubic.c2, cubic.c3 + cubic.c3 + cubic.c3};
}

}  // namespace flashmd

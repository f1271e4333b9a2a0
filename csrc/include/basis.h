// Radial basis functions R_k(d) = C(d) exp(-b_k (t(d) - m_k)^2) with their derivatives of first and second order with
// respect to the distance d, the centres m_k and the widths b_k, for numbers and vectors of numbers (see elementary.h).
#pragma once

#include "envelope.h"

namespace flashmd {

enum class Coordinate : int { distance = 0, exponential = 1 };

// t(d) = d, or exp(-alpha (d - lower)) with the lower bound of the envelope; alpha in 1 / nm.
struct BasisForm {
  Coordinate coordinate;
  double alpha;
  EnvelopeForm envelope;
};

// What all functions of one distance share.
template <typename V>
struct BasisRow {
  Jet<V> coordinate, envelope;
};

template <typename V>
FLASHMD_HOST_DEVICE BasisRow<V> basis_row(const BasisForm& form, V d) {
  using T = typename Lanes<V>::Number;
  const Jet<V> factor = envelope(form.envelope, d);
  if (form.coordinate == Coordinate::distance) return {{d, V{} + T(1), V{}}, factor};
  const V t = exponential((T(form.envelope.lower) - d) * T(form.alpha));
  return {{t, t * T(-form.alpha), t * T(form.alpha * form.alpha)}, factor};
}

// exp(-b u^2), cut off below exp(-60): farther out products of such numbers would be subnormal, hence slow.
template <typename V>
FLASHMD_HOST_DEVICE V basis_bell(V u, V width) {
  using T = typename Lanes<V>::Number;
  const V exponent = -(u * u * width);
  return exponential(choose(exponent < T(-60), V{} - T(60), exponent));
}

template <typename V>
FLASHMD_HOST_DEVICE V basis_value(const BasisRow<V>& row, V centre, V width) {
  return row.envelope.value * basis_bell(row.coordinate.value - centre, width);
}

// Value and slope along the distance alone.
template <typename V>
FLASHMD_HOST_DEVICE void basis_value_and_slope(const BasisRow<V>& row, V centre, V width, V& value, V& slope) {
  using T = typename Lanes<V>::Number;
  const V u = row.coordinate.value - centre;
  const V bell = basis_bell(u, width);
  value = row.envelope.value * bell;
  slope = bell * (row.envelope.slope - row.envelope.value * (width * u * row.coordinate.slope * T(2)));
}

// A number and its derivatives with respect to distance, centre and width.
template <typename V>
struct BasisTerms {
  V value, distance, centre, width;
};

// R_k and its gradient.
template <typename V>
FLASHMD_HOST_DEVICE BasisTerms<V> basis_gradient(const BasisRow<V>& row, V centre, V width) {
  using T = typename Lanes<V>::Number;
  const V u = row.coordinate.value - centre;
  const V bell = basis_bell(u, width);
  const V value = row.envelope.value * bell, twice = width * u * T(2);
  return {value, bell * row.envelope.slope - value * twice * row.coordinate.slope, value * twice, -(value * u * u)};
}

// The derivative of R_k along `direction` (its `value` is not read) and the gradient of that. With R = C exp(q) and a
// dot for the derivative along the direction, it is exp(q) (C' d. + C q.).
template <typename V>
FLASHMD_HOST_DEVICE BasisTerms<V> basis_curvature(const BasisRow<V>& row, V centre, V width,
                                                  const BasisTerms<V>& direction) {
  using T = typename Lanes<V>::Number;
  const V t1 = row.coordinate.slope, t2 = row.coordinate.curvature;
  const V u = row.coordinate.value - centre, bell = basis_bell(u, width);
  const V twice_u = u * T(2), twice_width = width * T(2);
  const V by_centre = twice_width * u, by_width = -(u * u), by_distance = -(by_centre * t1);
  const V distance = direction.distance, shift = direction.centre, growth = direction.width;
  const V along = distance * by_distance + shift * by_centre + growth * by_width;
  const V along_by_distance =
      shift * twice_width * t1 - distance * (twice_width * (t1 * t1 + u * t2)) - growth * twice_u * t1;
  const V along_by_centre = distance * twice_width * t1 - shift * twice_width + growth * twice_u;
  const V along_by_width = shift * twice_u - distance * twice_u * t1;
  const Jet<V>& factor = row.envelope;
  const V inner = distance * factor.slope + factor.value * along;
  return {bell * inner,
          bell * (by_distance * inner + distance * factor.curvature + factor.slope * along +
                  factor.value * along_by_distance),
          bell * (by_centre * inner + factor.value * along_by_centre),
          bell * (by_width * inner + factor.value * along_by_width)};
}

}  // namespace flashmd

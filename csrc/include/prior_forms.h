// The analytic terms: energies as functions of internal coordinates, and gradients with respect to the displacements.
//
// `column(c)` gives parameter c of the terms at hand; the columns are those of flashmd.ops.prior_layout. V is a number
// or a vector of numbers.
#pragma once

#include "internal_coordinates.h"

namespace flashmd {

enum class PriorForm : int64_t {
  harmonic_distance = 0,
  repulsion,
  exp_repulsion,
  cutoff_repulsion,
  cutoff_exp_repulsion,
  harmonic_cosine,
  quartic_cosine,
  restricted_quartic,
  harmonic_angle,
  quartic_angle,
  harmonic_torsion,
  shifted_torsion,
  fourier,
};

// Atoms of a term.
FLASHMD_HOST_DEVICE constexpr int order_of(PriorForm form) {
  return form <= PriorForm::cutoff_exp_repulsion ? 2 : (form <= PriorForm::quartic_angle ? 3 : 4);
}

// Whether terms vanish at and beyond a cutoff.
FLASHMD_HOST_DEVICE constexpr bool has_cutoff(PriorForm form) {
  return form == PriorForm::cutoff_repulsion || form == PriorForm::cutoff_exp_repulsion;
}

template <typename V>
struct EnergyAndSlope {
  V energy, slope;
};

template <typename V>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> harmonic(V value, V k, V x0) {
  const V deviation = value - x0, half_slope = k * deviation;
  return {half_slope * deviation, half_slope + half_slope};
}

// v0 + x (k1 + x (k2 + x (k3 + x k4))) with the columns in this order.
template <typename V, typename Columns>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> quartic(V x, const Columns& column) {
  using T = typename Lanes<V>::Number;
  const V k1 = column(1), k2 = column(2), k3 = column(3), k4 = column(4);
  return {column(0) + x * (k1 + x * (k2 + x * (k3 + x * k4))),
          k1 + x * (T(2) * k2 + x * (T(3) * k3 + x * (T(4) * k4)))};
}

// a u^4 + b u^3 + c u^2 + d u + k / sin^2 + v0 with the columns in this order; the wall keeps its height within 1 mrad
// of collinear.
template <typename V, typename Columns>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> restricted_bending(V u, const Columns& column) {
  using T = typename Lanes<V>::Number;
  constexpr T kSmallest = T(1e-6);
  const V a = column(0), b = column(1), c = column(2), d = column(3), k = column(4);
  const V square = (T(1) - u) * (T(1) + u), inverse = T(1) / at_least(square, kSmallest);
  const V wall = choose(square > kSmallest, (k + k) * u * (inverse * inverse), V{});
  return {column(5) + u * (d + u * (c + u * (b + u * a))) + k * inverse,
          d + u * (T(2) * c + u * (T(3) * b + u * (T(4) * a))) + wall};
}

// The term as a function of the squared distance; the slope is divided by the distance. A first column of zero stands
// for no term at all.
template <PriorForm kForm, typename V, typename Columns>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> pair_term(V square, const Columns& column, typename Lanes<V>::Number cutoff) {
  using T = typename Lanes<V>::Number;
  if constexpr (kForm == PriorForm::repulsion) {
    const V inverse = reciprocal(square), ratio = column(0) * inverse, energy = ratio * ratio * ratio;
    return {energy, energy * inverse * T(-6)};
  } else if constexpr (kForm == PriorForm::cutoff_repulsion) {
    const T cutoff_inverse = T(1) / (cutoff * cutoff);
    const V inverse = reciprocal(square), distance = square_root(square);
    const V ratio = column(0) * inverse, energy = ratio * ratio * ratio;
    const V there = column(0) * cutoff_inverse, energy_there = there * there * there;
    const V slope_there = energy_there * (T(-6) / cutoff);
    const auto inside = square < cutoff * cutoff;
    return {choose(inside, energy - energy_there - (distance - cutoff) * slope_there, V{}),
            choose(inside, energy * inverse * T(-6) - slope_there * (distance * inverse), V{})};
  } else {
    const V distance = square_root(square), inverse = reciprocal(at_least(distance, kTiny<V>));
    if constexpr (kForm == PriorForm::harmonic_distance) {
      const auto term = harmonic<V>(distance, column(0), column(1));
      return {term.energy, term.slope * inverse};
    }
    // An exponential of less than this would only make denormal numbers, which processors are slow with.
    constexpr T kNegligible = kIsSingle<V> ? T(-60) : T(-600);
    const V rate = column(2), exponent = column(1) - rate * distance;
    const V energy = choose(exponent > kNegligible, column(0) * exponential(exponent), V{}), slope = -energy * rate;
    if constexpr (kForm == PriorForm::exp_repulsion) return {energy, slope * inverse};
    const auto inside = square < cutoff * cutoff;
    const V slope_there = column(4);
    return {choose(inside, energy - column(3) - (distance - cutoff) * slope_there, V{}),
            choose(inside, (slope - slope_there) * inverse, V{})};
  }
}

// The term as a function of the angle or of its cosine.
template <PriorForm kForm, typename V, typename Columns>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> bend_term(V value, const Columns& column) {
  if constexpr (kForm == PriorForm::restricted_quartic) {
    return restricted_bending(value, column);
  } else if constexpr (kForm == PriorForm::quartic_cosine || kForm == PriorForm::quartic_angle) {
    return quartic(value, column);
  } else {
    return harmonic<V>(value, column(0), column(1));
  }
}

// v0 + sum over n of k1_n sin(n phi) + k2_n cos(n phi) with the columns v0, k1_1, k1_2, .., k2_1, k2_2, ..; sines and
// cosines of multiples follow from those of phi by the addition theorems.
template <typename V, typename Columns>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> fourier_series(V sine, V cosine, const Columns& column, int degree) {
  using T = typename Lanes<V>::Number;
  V energy = column(0), slope = V{}, s = sine, c = cosine;
  for (int n = 1; n <= degree; ++n) {
    const V k1 = column(n), k2 = column(degree + n);
    energy = energy + (k1 * s + k2 * c);
    slope = slope + (k1 * c - k2 * s) * T(n);
    const V next = s * cosine + c * sine;
    c = c * cosine - s * sine;
    s = next;
  }
  return {energy, slope};
}

template <PriorForm kForm, typename V, typename Columns>
FLASHMD_HOST_DEVICE EnergyAndSlope<V> torsion_term(V sine, V cosine, const Columns& column, int degree) {
  using T = typename Lanes<V>::Number;
  if constexpr (kForm == PriorForm::fourier) {
    return fourier_series(sine, cosine, column, degree);
  } else {
    V value = arc_tangent(sine, cosine);
    constexpr T kPi = T(3.14159265358979323846);
    if constexpr (kForm == PriorForm::shifted_torsion) value = choose(value < T(0), value + kPi, value - kPi);
    return harmonic<V>(value, column(0), column(1));
  }
}

// The energy of a term and its gradient with respect to each displacement.
template <typename V, int kOrder>
struct Contribution {
  V energy;
  Point<V> gradient[kOrder - 1];
};

// Displacements of a term: x1 - x0; x0 - x1 and x2 - x1; x1 - x0, x2 - x1 and x3 - x2.
template <int kOrder, typename V>
FLASHMD_HOST_DEVICE void displacements(const Point<V> atoms[kOrder], Point<V> vectors[kOrder - 1]) {
  if constexpr (kOrder == 3) {
    vectors[0] = atoms[0] - atoms[1];
    vectors[1] = atoms[2] - atoms[1];
  } else {
    for (int i = 0; i + 1 < kOrder; ++i) vectors[i] = atoms[i + 1] - atoms[i];
  }
}

// Forces on the atoms of a term from its gradient with respect to the displacements.
template <int kOrder, typename V>
FLASHMD_HOST_DEVICE void forces_of(const Point<V> gradient[kOrder - 1], Point<V> forces[kOrder]) {
  if constexpr (kOrder == 3) {
    forces[0] = -gradient[0];
    forces[1] = gradient[0] + gradient[1];
    forces[2] = -gradient[1];
  } else {
    forces[0] = gradient[0];
    for (int i = 1; i + 1 < kOrder; ++i) forces[i] = gradient[i] - gradient[i - 1];
    forces[kOrder - 1] = -gradient[kOrder - 2];
  }
}

template <PriorForm kForm, typename V, typename Columns>
FLASHMD_HOST_DEVICE Contribution<V, order_of(kForm)> contribution(const Point<V> vectors[order_of(kForm) - 1],
                                                                  const Columns& column, int n_columns,
                                                                  typename Lanes<V>::Number cutoff) {
  constexpr int kOrder = order_of(kForm);
  if constexpr (kOrder == 2) {
    const auto term = pair_term<kForm>(dot(vectors[0], vectors[0]), column, cutoff);
    return {term.energy, {vectors[0] * term.slope}};
  } else if constexpr (kOrder == 3) {
    constexpr bool kCosine = kForm < PriorForm::harmonic_angle;
    const Bend<V> bend = kCosine ? cosine_between(vectors[0], vectors[1]) : angle_between(vectors[0], vectors[1]);
    const auto term = bend_term<kForm>(bend.value, column);
    return {term.energy, {bend.to_left * term.slope, bend.to_right * term.slope}};
  } else {
    const Torsion<V> torsion = torsion_of(vectors[0], vectors[1], vectors[2]);
    const auto term = torsion_term<kForm>(torsion.sine, torsion.cosine, column, (n_columns - 1) / 2);
    return {term.energy, {torsion.to_first * term.slope, torsion.to_middle * term.slope, torsion.to_last * term.slope}};
  }
}

}  // namespace flashmd

// The cases CALL(form) of a form that is known at run time only.
#define FLASHMD_FOR_PRIOR_FORM(FORM, CALL)           \
  switch (FORM) {                                    \
    CALL(::flashmd::PriorForm::harmonic_distance)    \
    CALL(::flashmd::PriorForm::repulsion)            \
    CALL(::flashmd::PriorForm::exp_repulsion)        \
    CALL(::flashmd::PriorForm::cutoff_repulsion)     \
    CALL(::flashmd::PriorForm::cutoff_exp_repulsion) \
    CALL(::flashmd::PriorForm::harmonic_cosine)      \
    CALL(::flashmd::PriorForm::quartic_cosine)       \
    CALL(::flashmd::PriorForm::restricted_quartic)   \
    CALL(::flashmd::PriorForm::harmonic_angle)       \
    CALL(::flashmd::PriorForm::quartic_angle)        \
    CALL(::flashmd::PriorForm::harmonic_torsion)     \
    CALL(::flashmd::PriorForm::shifted_torsion)      \
    CALL(::flashmd::PriorForm::fourier)              \
  }

// Envelopes of the interaction with two derivatives, for numbers and vectors of numbers (see elementary.h).
#pragma once

#include "elementary.h"
#include "jet.h"

namespace flashmd {

enum class Envelope : int { identity = 0, cosine = 1 };

// Bounds in nm. A cosine envelope falls from one to zero, or is a bump between its bounds where `lower` is positive.
struct EnvelopeForm {
  Envelope kind;
  double lower, upper;
};

// Cosine and sine of x for |x| <= pi / 2 by their Taylor series.
template <typename V>
FLASHMD_HOST_DEVICE void cosine_and_sine(V x, V& cosine, V& sine) {
  using T = typename Lanes<V>::Number;
  constexpr int kTerms = kIsSingle<V> ? 7 : 12;
  const V square = x * x;
  cosine = V{} + T(1);
  sine = V{} + T(1);
  for (int k = kTerms; k > 0; --k) {
    cosine = T(1) - square * cosine * T(1.0 / ((2 * k - 1) * (2 * k)));
    sine = T(1) - square * sine * T(1.0 / ((2 * k) * (2 * k + 1)));
  }
  sine = sine * x;
}

// The factor at distance d and its derivatives. The cosine envelope is cos^2 x with x in (-pi/2, pi/2) between the
// bounds, which keeps all digits where it is small.
template <typename V>
FLASHMD_HOST_DEVICE Jet<V> envelope(const EnvelopeForm& form, V d) {
  using T = typename Lanes<V>::Number;
  const V zero = V{}, one = V{} + T(1);
  const V below = choose(d < T(form.upper), one, zero);
  if (form.kind == Envelope::identity) return {choose(d > T(form.upper), zero, one), zero, zero};
  constexpr double kPi = 3.14159265358979323846;
  const bool bump = form.lower > 0.0;
  const double rate = bump ? kPi / (form.upper - form.lower) : 0.5 * kPi / form.upper;
  const V x = bump ? (d - T(form.lower)) * T(rate) - T(0.5 * kPi) : d * T(rate);
  const V inside = bump ? choose(d > T(form.lower), below, zero) : below;
  V cosine, sine;
  cosine_and_sine(x * inside, cosine, sine);
  cosine = cosine * inside;
  sine = sine * inside;
  return {cosine * cosine, cosine * sine * T(-2.0 * rate), (sine * sine - cosine * cosine) * T(2.0 * rate * rate)};
}

}  // namespace flashmd

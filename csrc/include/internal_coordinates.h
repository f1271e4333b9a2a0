// Internal coordinates of two, three and four atoms with their gradients, and nearest periodic images.
//
// V is a number or a vector of numbers (see elementary.h). All forms stay finite for collinear atoms: a torsion is
// taken to be zero there and every undefined gradient is zero.
#pragma once

#include "elementary.h"
#include "lattice.h"

namespace flashmd {

// Added to squared lengths (nm^2) and areas (nm^4): far below rounding of any regular geometry, safe in float.
template <typename V>
constexpr typename Lanes<V>::Number kTiny = typename Lanes<V>::Number(1e-20);

FLASHMD_HOST_DEVICE float square_root(float x) {
  return sqrtf(x);
}
FLASHMD_HOST_DEVICE double square_root(double x) {
  return sqrt(x);
}
FLASHMD_HOST_DEVICE float reciprocal(float x) {
  return 1.0f / x;
}
FLASHMD_HOST_DEVICE double reciprocal(double x) {
  return 1.0 / x;
}
FLASHMD_HOST_DEVICE float arc_tangent(float y, float x) {
  return atan2f(y, x);
}
FLASHMD_HOST_DEVICE double arc_tangent(double y, double x) {
  return atan2(y, x);
}

template <typename V>
FLASHMD_HOST_DEVICE V at_least(V x, typename Lanes<V>::Number least) {
  return choose(x > least, x, V{} + least);
}

template <typename V>
struct Point {
  V x, y, z;
};

template <typename V>
FLASHMD_HOST_DEVICE Point<V> operator+(const Point<V>& a, const Point<V>& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}
template <typename V>
FLASHMD_HOST_DEVICE Point<V> operator-(const Point<V>& a, const Point<V>& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
template <typename V>
FLASHMD_HOST_DEVICE Point<V> operator-(const Point<V>& a) {
  return {-a.x, -a.y, -a.z};
}
template <typename V>
FLASHMD_HOST_DEVICE Point<V> operator*(const Point<V>& a, const V& factor) {
  return {a.x * factor, a.y * factor, a.z * factor};
}
template <typename V>
FLASHMD_HOST_DEVICE V dot(const Point<V>& a, const Point<V>& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
template <typename V>
FLASHMD_HOST_DEVICE Point<V> cross(const Point<V>& a, const Point<V>& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

// Lattice vectors (rows) and the map to fractional coordinates; zero along open directions.
template <typename T>
struct Images {
  T cell[3][3], inverse[3][3];
};

template <typename T>
FLASHMD_HOST_DEVICE Images<T> make_images(const T* cell, const bool* pbc) {
  const Lattice lattice = make_lattice(cell, pbc);
  Images<T> images;
  for (int k = 0; k < 3; ++k) {
    for (int d = 0; d < 3; ++d) {
      images.cell[k][d] = static_cast<T>(lattice.cell[k][d]);
      images.inverse[d][k] = static_cast<T>(lattice.periodic[k] ? lattice.inverse[d][k] : 0.0);
    }
  }
  return images;
}

// Nearest integer, ties to even, for |x| < 2^22 (float) or 2^51 (double).
template <typename V>
FLASHMD_HOST_DEVICE V nearest_integer(V x) {
  using T = typename Lanes<V>::Number;
  constexpr T kRound = kIsSingle<V> ? T(12582912.0) : T(6755399441055744.0);
  return (x + kRound) - kRound;
}

// The nearest image of a vector shorter than half the smallest height of the cell.
template <typename V>
FLASHMD_HOST_DEVICE Point<V> nearest_image(const Point<V>& v, const Images<typename Lanes<V>::Number>& images) {
  Point<V> result = v;
  for (int k = 0; k < 3; ++k) {
    const V n = nearest_integer(v.x * images.inverse[0][k] + v.y * images.inverse[1][k] + v.z * images.inverse[2][k]);
    result = {result.x - n * images.cell[k][0], result.y - n * images.cell[k][1], result.z - n * images.cell[k][2]};
  }
  return result;
}

// A coordinate of two vectors and its gradient with respect to them.
template <typename V>
struct Bend {
  V value;
  Point<V> to_left, to_right;
};

template <typename V>
FLASHMD_HOST_DEVICE Bend<V> cosine_between(const Point<V>& left, const Point<V>& right) {
  using T = typename Lanes<V>::Number;
  const V left_square = dot(left, left), right_square = dot(right, right);
  const V inverse = T(1) / square_root(left_square * right_square + kTiny<V>);
  const V cosine = dot(left, right) * inverse;
  const V along_left = cosine / at_least(left_square, kTiny<V>),
          along_right = cosine / at_least(right_square, kTiny<V>);
  return {cosine, right * inverse - left * along_left, left * inverse - right * along_right};
}

// atan2(|u x v|, u . v), rad.
template <typename V>
FLASHMD_HOST_DEVICE Bend<V> angle_between(const Point<V>& left, const Point<V>& right) {
  using T = typename Lanes<V>::Number;
  const Point<V> normal = cross(left, right);
  const V area = square_root(dot(normal, normal) + kTiny<V>);
  const Point<V> unit = normal * (T(1) / area);
  const V left_square = at_least(dot(left, left), kTiny<V>), right_square = at_least(dot(right, right), kTiny<V>);
  return {arc_tangent(area, dot(left, right)), cross(left, unit) * (T(1) / left_square),
          cross(unit, right) * (T(1) / right_square)};
}

// Sine and cosine of a torsion (IUPAC sign) and the gradient of the torsion with respect to the three vectors.
template <typename V>
struct Torsion {
  V sine, cosine;
  Point<V> to_first, to_middle, to_last;
};

template <typename V>
FLASHMD_HOST_DEVICE Torsion<V> torsion_of(const Point<V>& first, const Point<V>& middle, const Point<V>& last) {
  using T = typename Lanes<V>::Number;
  const V zero = V{}, one = V{} + T(1);
  const Point<V> normal = cross(first, middle), next = cross(middle, last);
  const V square = dot(normal, normal), next_square = dot(next, next), middle_square = dot(middle, middle) + kTiny<V>;
  const V length = square_root(middle_square);
  // One where both planes are defined. Everywhere else all quotients are of ones and count for nothing.
  const V regular = choose(square > kTiny<V>, choose(next_square > kTiny<V>, one, zero), zero);
  const V inverse = one / choose(regular > T(0), square, one),
          next_inverse = one / choose(regular > T(0), next_square, one);
  const V scale = square_root(inverse) * square_root(next_inverse);
  const V sine = regular * (length * dot(first, next) * scale);
  const V cosine = choose(regular > T(0), dot(normal, next) * scale, one);
  const V unit = one / square_root(sine * sine + cosine * cosine);
  const Point<V> to_first = normal * (regular * length * inverse), to_last = next * (regular * length * next_inverse);
  const V along_first = dot(first, middle) / middle_square, along_last = dot(last, middle) / middle_square;
  return {sine * unit, cosine * unit, to_first, -(to_first * along_first + to_last * along_last), to_last};
}

}  // namespace flashmd

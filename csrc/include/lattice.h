// Geometry of one periodic cell, on host and device.
#pragma once

#include <cmath>

#include "host_device.h"

namespace flashmd {

struct Lattice {
  double cell[3][3];     // lattice vectors as given, rows; zero along open directions
  double inverse[3][3];  // fractional = position * inverse, with open directions completed to a basis
  double height[3];      // distance of opposite faces, nm
  bool periodic[3];
  bool singular;
};

FLASHMD_HOST_DEVICE void cross(const double a[3], const double b[3], double out[3]) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

FLASHMD_HOST_DEVICE double norm(const double a[3]) {
  return sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]);
}

struct Axis {
  double x[3];
  FLASHMD_HOST_DEVICE operator const double*() const { return x; }
};

FLASHMD_HOST_DEVICE Axis axis_least_along(const double a[3]) {
  int least = 0;
  for (int d = 1; d < 3; ++d) least = fabs(a[d]) < fabs(a[least]) ? d : least;
  return {{least == 0 ? 1.0 : 0.0, least == 1 ? 1.0 : 0.0, least == 2 ? 1.0 : 0.0}};
}

// Give open directions unit vectors orthogonal to the periodic ones: they carry no images and must not shape the
// search.
FLASHMD_HOST_DEVICE void complete_basis(const bool periodic[3], double basis[3][3]) {
  int first = -1, second = -1, n_periodic = 0, n_open = 0;
  for (int k = 0; k < 3; ++k) {
    if (!periodic[k]) continue;
    if (n_periodic++ == 0) {
      first = k;
    } else {
      second = k;
    }
  }
  double normal[3] = {0.0, 0.0, 0.0};
  for (int k = 0; k < 3; ++k) {
    if (periodic[k]) continue;
    if (n_periodic == 2) {
      cross(basis[first], basis[second], normal);
    } else if (n_periodic == 1 && n_open == 0) {
      cross(basis[first], axis_least_along(basis[first]), normal);
    } else if (n_periodic == 1) {
      const double previous[3] = {normal[0], normal[1], normal[2]};
      cross(basis[first], previous, normal);
    } else {
      for (int d = 0; d < 3; ++d) normal[d] = d == k ? 1.0 : 0.0;
    }
    ++n_open;
    const double length = norm(normal);
    for (int d = 0; d < 3; ++d) basis[k][d] = length > 0.0 ? normal[d] / length : 0.0;
  }
}

template <typename T>
FLASHMD_HOST_DEVICE Lattice make_lattice(const T* cell, const bool* pbc) {
  Lattice lattice;
  double basis[3][3];
  for (int k = 0; k < 3; ++k) {
    lattice.periodic[k] = pbc[k];
    for (int d = 0; d < 3; ++d) lattice.cell[k][d] = basis[k][d] = pbc[k] ? static_cast<double>(cell[3 * k + d]) : 0.0;
  }
  complete_basis(pbc, basis);
  double normals[3][3];
  for (int k = 0; k < 3; ++k) cross(basis[(k + 1) % 3], basis[(k + 2) % 3], normals[k]);
  const double volume = basis[0][0] * normals[0][0] + basis[0][1] * normals[0][1] + basis[0][2] * normals[0][2];
  const double scale = norm(basis[0]) * norm(basis[1]) * norm(basis[2]);
  lattice.singular = !(fabs(volume) > 1e-9 * scale);
  for (int k = 0; k < 3; ++k) {
    for (int d = 0; d < 3; ++d) lattice.inverse[d][k] = lattice.singular ? 0.0 : normals[k][d] / volume;
    lattice.height[k] = lattice.singular ? 1.0 : fabs(volume) / norm(normals[k]);
  }
  return lattice;
}

FLASHMD_HOST_DEVICE double fractional(const Lattice& lattice, const double x[3], int axis) {
  return x[0] * lattice.inverse[0][axis] + x[1] * lattice.inverse[1][axis] + x[2] * lattice.inverse[2][axis];
}

// Squared length of (sender - receiver) + shift * cell. Exchanging the atoms and negating the shift flips the sign of
// every intermediate, so both directions of a pair see the same number, bit for bit.
FLASHMD_HOST_DEVICE double squared_distance(const Lattice& lattice, const double receiver[3], const double sender[3],
                                            const int32_t shift[3]) {
  double total = 0.0;
  for (int d = 0; d < 3; ++d) {
    const double moved = shift[0] * lattice.cell[0][d] + shift[1] * lattice.cell[1][d] + shift[2] * lattice.cell[2][d];
    const double component = (sender[d] - receiver[d]) + moved;
    total += component * component;
  }
  return total;
}

}  // namespace flashmd

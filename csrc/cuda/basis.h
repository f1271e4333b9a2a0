// Radial basis functions and their derivatives on the GPU; see ../include/basis.h for the formulas.
#pragma once

#include "../include/basis.h"
#include "launchers.h"

namespace flashmd::cuda {

template <typename T>
struct BasisInput {
  const T* distance;  // [n_rows]
  const T* centres;   // [n_basis]
  const T* widths;    // [n_basis]
  int64_t n_rows, n_basis;
  BasisForm form;
};

// A direction in the space of distances, centres and widths.
template <typename T>
struct BasisDirection {
  const T* distance;  // [n_rows]
  const T* centres;   // [n_basis]
  const T* widths;    // [n_basis]
};

template <typename T>
struct BasisSums {
  T* distance;    // [n_rows]
  T* parameters;  // [2, n_basis], centres and widths; null where they are not wanted
  T* partial;     // [basis_blocks(n_rows), 2, n_basis], scratch
};

constexpr int64_t kBasisRows = 64;
inline int64_t basis_blocks(int64_t n_rows) {
  return (n_rows + kBasisRows - 1) / kBasisRows;
}

template <typename T>
void radial_basis(const BasisInput<T>& input, T* out, Stream stream);
template <typename T>
void radial_basis_backward(const BasisInput<T>& input, const T* grad, const BasisSums<T>& sums, Stream stream);
template <typename T>
void radial_basis_double_backward(const BasisInput<T>& input, const BasisDirection<T>& direction, const T* grad,
                                  T* along, const BasisSums<T>& sums, Stream stream);

}  // namespace flashmd::cuda

// Radial basis functions and their derivatives on the CPU; see ../include/basis.h for the formulas.
//
// Distances are [n_rows], results [n_rows, n_basis]. Centres and widths, and every array of one number for each
// function, are padded with zeros to `n_padded`, a multiple of 16. Sums over rows run over fixed blocks of rows.
#pragma once

#include "../include/basis.h"
#include "isa.h"

namespace flashmd::cpu {

template <typename T>
struct BasisInput {
  const T* distance;  // [n_rows]
  const T* centres;   // [n_padded]
  const T* widths;    // [n_padded]
  int64_t n_rows, n_basis, n_padded;
  BasisForm form;
};

// A direction in the space of distances, centres and widths.
template <typename T>
struct BasisDirection {
  const T* distance;  // [n_rows]
  const T* centres;   // [n_padded]
  const T* widths;    // [n_padded]
};

template <typename T>
struct BasisSums {
  T* distance;    // [n_rows]
  T* parameters;  // [2, n_padded], centres and widths; null where they are not wanted
  T* partial;     // [basis_blocks(n_rows), 2, n_padded], scratch
};

constexpr int64_t kBasisBlock = 256;
inline int64_t basis_blocks(int64_t n_rows) {
  return (n_rows + kBasisBlock - 1) / kBasisBlock;
}

#define FLASHMD_DECLARE_BASIS(ISA)                                                                                 \
  namespace ISA {                                                                                                  \
  template <typename T>                                                                                            \
  void radial_basis(const BasisInput<T>& input, T* out);                                                           \
  /* The gradient of the sum of `grad` times the functions. */                                                     \
  template <typename T>                                                                                            \
  void radial_basis_backward(const BasisInput<T>& input, const T* grad, const BasisSums<T>& sums);                 \
  /* The derivative of the functions along `direction`, and the gradient of its sum with `grad`. */                \
  template <typename T>                                                                                            \
  void radial_basis_double_backward(const BasisInput<T>& input, const BasisDirection<T>& direction, const T* grad, \
                                    T* along, const BasisSums<T>& sums);                                           \
  }
FLASHMD_ISA_NAMESPACES(FLASHMD_DECLARE_BASIS)
#undef FLASHMD_DECLARE_BASIS

}  // namespace flashmd::cpu

// Dense layers on the features of the atoms, and the energies of the atoms with their gradient.
#pragma once

#include "../include/activation.h"
#include "launchers.h"

namespace flashmd::cuda {

// out = (residual + bias + f(values) weight) * slope(gate), where f is the activation or nothing, slope its derivative,
// and whatever is null is left out. `out` may be the residual.
template <typename T>
struct NodeLayer {
  const T* values;    // [n_rows, n_in]
  const T* weight;    // [n_in, n_out]
  const T* bias;      // [n_out]
  const T* residual;  // [n_rows, n_out]
  const T* gate;      // [n_rows, n_out]
  T* out;             // [n_rows, n_out]
  int64_t n_rows;
  int32_t n_in, n_out;
  Activation activation;
  bool activate_input;
};

// energy = bias + <weight, f(values)>, and its gradient with respect to `values`.
template <typename T>
struct NodeEnergy {
  const T* values;  // [n_atoms, n_in]
  const T* weight;  // [n_in]
  const T* bias;    // [1], or null
  T* energy;        // [n_atoms], kJ/mol
  T* gradient;      // [n_atoms, n_in]
  int64_t n_atoms;
  int32_t n_in;
  Activation activation;
  bool activate_input;
};

// The results of a batch from those of its atoms and slices of channels. Where the neighbour list cannot be used
// (see row_list.h), energies and forces become NaN: nothing wrong passes for a result.
template <typename T>
struct Totals {
  const T* atom_energy;   // [n_atoms]
  const T* force_share;   // [n_slices, n_atoms, 3]
  const T* virial_share;  // [n_slices, n_atoms, 6], or null
  const int64_t* ptr;     // [n_systems + 1]
  const int64_t* state;   // of the neighbour list
  int64_t capacity;
  int64_t n_systems, n_atoms;
  int32_t n_slices;
  double* energy;  // [n_systems], kJ/mol
  T* forces;       // [n_atoms, 3], kJ/mol/nm
  double* virial;  // [n_systems, 3, 3], kJ/mol, or null
};

template <typename T>
void node_layer(const NodeLayer<T>& layer, Stream stream);
template <typename T>
void node_energy(const NodeEnergy<T>& layer, Stream stream);
template <typename T>
void totals(const Totals<T>& totals, Stream stream);

}  // namespace flashmd::cuda

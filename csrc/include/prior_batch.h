// What the kernels of the analytic terms read and write, on host and device.
#pragma once

#include "host_device.h"

namespace flashmd {

template <typename T>
struct PriorBatch {
  const T* positions;  // [n_atoms, 3], nm
  const int64_t* ptr;  // [n_systems + 1]
  const T* cell;       // [n_systems, 3, 3], nm
  const bool* pbc;     // [n_systems, 3]
  int64_t n_systems, n_atoms;
};

template <typename T>
struct PriorOutput {
  double* energy;  // [n_systems], kJ/mol
  T* forces;       // [n_atoms, 3], kJ/mol/nm
  double* virial;  // [n_systems, 3, 3], kJ/mol, or nullptr
};

}  // namespace flashmd

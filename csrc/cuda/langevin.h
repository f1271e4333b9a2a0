// A step of Langevin dynamics around the evaluation of the forces, for steps that a graph repeats: the number of the
// step, which names its noise, lies on the device.
#pragma once

#include "launchers.h"

namespace flashmd::cuda {

// See flashmd/md/integrators.py for the equations.
template <typename T>
struct LangevinStep {
  T* positions;            // [n_atoms, 3], nm
  T* velocities;           // [n_atoms, 3], nm/ps
  const T* forces;         // [n_atoms, 3], kJ/mol/nm
  const T* inverse_mass;   // [n_atoms], 1/Da
  const T* thermal_speed;  // [n_atoms], nm/ps
  const int64_t* streams;  // [n_atoms]
  int64_t* step;           // [1], steps made
  int64_t n_atoms;
  uint64_t seed;
  T half_step, keep, noise_amplitude;  // ps, 1, 1
};

// Half a kick, half a drift, the heat bath, half a drift; the forces are those at the present positions.
template <typename T>
void langevin_begin(const LangevinStep<T>& step, Stream stream);
// Half a kick with the forces at the new positions; counts the step.
template <typename T>
void langevin_end(const LangevinStep<T>& step, Stream stream);

}  // namespace flashmd::cuda

// The part of a Langevin step before the new forces, on host and device; see flashmd/md/integrators.py for the
// equations.
#pragma once

#include "host_device.h"

namespace flashmd {

template <typename T>
struct LangevinRule {
  T half_step, keep, noise_amplitude;  // ps, 1, 1
};

template <typename T>
struct LangevinInput {
  const T* positions;      // [n_atoms, 3], nm
  const T* velocities;     // [n_atoms, 3], nm/ps
  const T* forces;         // [n_atoms, 3], kJ/mol/nm
  const T* inverse_mass;   // [n_atoms], 1/Da
  const T* thermal_speed;  // [n_atoms], nm/ps
  const int64_t* streams;  // [n_atoms]
  int64_t n_atoms;
  uint64_t seed, counter;
  LangevinRule<T> rule;
};

template <typename T>
struct LangevinOutput {
  T* positions;
  T* velocities;
};

// Half a kick, half a drift, the heat bath and half a drift of one component of one atom.
template <typename T>
FLASHMD_HOST_DEVICE void langevin_component(const LangevinInput<T>& in, int64_t atom, int component, T noise,
                                            const LangevinOutput<T>& out) {
  const LangevinRule<T>& rule = in.rule;
  const int64_t place = 3 * atom + component;
  const T before = in.velocities[place] + rule.half_step * in.forces[place] * in.inverse_mass[atom];
  const T after = before * rule.keep + rule.noise_amplitude * noise * in.thermal_speed[atom];
  out.positions[place] = in.positions[place] + rule.half_step * before + rule.half_step * after;
  out.velocities[place] = after;
}

}  // namespace flashmd

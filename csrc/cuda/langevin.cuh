// One thread for each atom; noise comes from the numbers of philox_normal with the step as the counter.
#pragma once

#include "../include/philox.h"
#include "device.cuh"
#include "langevin.h"

namespace flashmd::cuda {

template <typename T>
__global__ void langevin_begin_kernel(LangevinStep<T> in) {
  const uint64_t counter = static_cast<uint64_t>(in.step[0]) + 1;
  for (int64_t atom = global_thread(); atom < in.n_atoms; atom += grid_size()) {
    uint32_t words[4];
    double noise[4];
    philox(in.seed, static_cast<uint64_t>(in.streams[atom]), counter, 0, words);
    normals_from_words(words[0], words[1], noise[0], noise[1]);
    normals_from_words(words[2], words[3], noise[2], noise[3]);
    const T kick = in.half_step * in.inverse_mass[atom], heat = in.noise_amplitude * in.thermal_speed[atom];
    for (int d = 0; d < 3; ++d) {
      const int64_t place = 3 * atom + d;
      const T before = in.velocities[place] + kick * in.forces[place];
      const T after = in.keep * before + heat * static_cast<T>(noise[d]);
      in.positions[place] += in.half_step * before + in.half_step * after;
      in.velocities[place] = after;
    }
  }
}

template <typename T>
__global__ void langevin_end_kernel(LangevinStep<T> in) {
  for (int64_t item = global_thread(); item < 3 * in.n_atoms; item += grid_size()) {
    in.velocities[item] += in.half_step * in.inverse_mass[item / 3] * in.forces[item];
  }
  if (global_thread() == 0) ++in.step[0];
}

}  // namespace flashmd::cuda

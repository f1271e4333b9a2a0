// One thread for each atom; the noise is that of philox_normal.
#pragma once

#include "../include/philox.h"
#include "device.cuh"
#include "integrator.h"

namespace flashmd::cuda {

template <typename T>
__global__ void langevin_step_kernel(LangevinInput<T> in, LangevinOutput<T> out) {
  for (int64_t atom = global_thread(); atom < in.n_atoms; atom += grid_size()) {
    uint32_t words[4];
    double noise[4];
    philox(in.seed, static_cast<uint64_t>(in.streams[atom]), in.counter, 0, words);
    normals_from_words(words[0], words[1], noise[0], noise[1]);
    normals_from_words(words[2], words[3], noise[2], noise[3]);
    for (int d = 0; d < 3; ++d) langevin_component(in, atom, d, static_cast<T>(noise[d]), out);
  }
}

}  // namespace flashmd::cuda

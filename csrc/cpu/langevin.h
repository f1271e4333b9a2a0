#pragma once

#include "../include/langevin.h"

namespace flashmd::cpu {

// Advance all atoms; out may not overlap the input.
template <typename T>
void langevin_step(const LangevinInput<T>& in, const LangevinOutput<T>& out);

}  // namespace flashmd::cpu

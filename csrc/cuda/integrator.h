// The part of a Langevin step before the new forces, into new memory.
#pragma once

#include "../include/langevin.h"
#include "launchers.h"

namespace flashmd::cuda {

template <typename T>
void langevin_step(const LangevinInput<T>& in, const LangevinOutput<T>& out, Stream stream);

}  // namespace flashmd::cuda

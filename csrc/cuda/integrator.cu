#include "integrator.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void langevin_step(const LangevinInput<T>& in, const LangevinOutput<T>& out, Stream stream) {
  launch<langevin_step_kernel<T>>(threads_for(in.n_atoms), stream, in, out);
}

template void langevin_step(const LangevinInput<float>&, const LangevinOutput<float>&, Stream);
template void langevin_step(const LangevinInput<double>&, const LangevinOutput<double>&, Stream);

}  // namespace flashmd::cuda

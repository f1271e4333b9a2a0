#include "langevin.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void langevin_begin(const LangevinStep<T>& step, Stream stream) {
  launch<langevin_begin_kernel<T>>(threads_for(step.n_atoms), stream, step);
}

template <typename T>
void langevin_end(const LangevinStep<T>& step, Stream stream) {
  launch<langevin_end_kernel<T>>(threads_for(3 * step.n_atoms), stream, step);
}

#define FLASHMD_INSTANTIATE(T)                                  \
  template void langevin_begin(const LangevinStep<T>&, Stream); \
  template void langevin_end(const LangevinStep<T>&, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

#include "priors.cuh"

#include "launch.h"

namespace flashmd::cuda {

namespace {

template <bool kVirial, typename T>
void evaluate(const PriorBatch<T>& batch, const PriorPlan<T>& plan, const PriorOutput<T>& out, double* scratch,
              Stream stream) {
  constexpr int kShares = kVirial ? 10 : 1;
  launch<prior_atom_kernel<T, kVirial>>(threads_for(batch.n_atoms * kWarp), stream, batch, plan, out.forces, scratch);
  const Shape blocks{static_cast<unsigned>(batch.n_systems * kShares)};
  launch<prior_system_kernel<kShares>>(blocks, stream, batch.ptr, scratch, out.energy, out.virial);
}

}  // namespace

template <typename T>
void prior_terms(const PriorBatch<T>& batch, const PriorPlan<T>& plan, const PriorOutput<T>& out, double* scratch,
                 Stream stream) {
  (out.virial ? evaluate<true, T> : evaluate<false, T>)(batch, plan, out, scratch, stream);
}

#define FLASHMD_INSTANTIATE(T) \
  template void prior_terms(const PriorBatch<T>&, const PriorPlan<T>&, const PriorOutput<T>&, double*, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

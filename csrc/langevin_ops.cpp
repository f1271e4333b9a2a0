// The two halves of a Langevin step on a GPU, in memory that the caller keeps; see flashmd/md/graphed.py.

#include <torch/csrc/stable/library.h>

#include <cmath>

#include "cuda/langevin.h"
#include "tensors.h"

namespace flashmd {
namespace {

template <typename T>
T* values(const Tensor& tensor, const Tensor& positions, int64_t n) {
  check(tensor.scalar_type() == positions.scalar_type() && tensor.is_contiguous() && tensor.numel() == n &&
            uses_cuda(tensor),
        "the step: expected contiguous tensors of one dtype on one GPU, got others. To fix it, use `GraphedStep`.");
  return mutable_data<T>(tensor);
}

template <bool kBegin>
void langevin(Tensor positions, Tensor velocities, Tensor forces, Tensor inverse_mass, Tensor thermal_speed,
              Tensor streams, Tensor step, int64_t seed, double time_step, double friction) {
  const int64_t n_atoms = positions.size(0);
  const CudaScope scope(positions);
  for_dtype(positions, [&](auto zero) {
    using T = decltype(zero);
    check(index_data(streams) && streams.numel() == n_atoms && index_data(step) && step.numel() == 1,
          "the step: expected one stream for each atom and one counter, got others. To fix it, use `GraphedStep`.");
    const cuda::LangevinStep<T> in{values<T>(positions, positions, 3 * n_atoms),
                                   values<T>(velocities, positions, 3 * n_atoms),
                                   values<T>(forces, positions, 3 * n_atoms),
                                   values<T>(inverse_mass, positions, n_atoms),
                                   values<T>(thermal_speed, positions, n_atoms),
                                   index_data(streams),
                                   mutable_data<int64_t>(step),
                                   n_atoms,
                                   static_cast<uint64_t>(seed),
                                   static_cast<T>(0.5 * time_step),
                                   static_cast<T>(std::exp(-friction * time_step)),
                                   static_cast<T>(std::sqrt(-std::expm1(-2.0 * friction * time_step)))};
    (kBegin ? cuda::langevin_begin<T> : cuda::langevin_end<T>)(in, scope.stream);
  });
}

}  // namespace
}  // namespace flashmd

#define FLASHMD_STEP                                                                                                \
  "(Tensor(a!) positions, Tensor(b!) velocities, Tensor forces, Tensor inverse_mass, Tensor thermal_speed, Tensor " \
  "streams, Tensor(c!) step, int seed, float time_step, float friction) -> ()"

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def("langevin_begin_" FLASHMD_STEP);
  m.def("langevin_end_" FLASHMD_STEP);
}

STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  m.impl("langevin_begin_", TORCH_BOX(&flashmd::langevin<true>));
  m.impl("langevin_end_", TORCH_BOX(&flashmd::langevin<false>));
}

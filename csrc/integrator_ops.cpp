// Binding of the part of a Langevin step before the new forces.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "cpu/langevin.h"
#include "cuda/integrator.h"
#include "tensors.h"

namespace flashmd {
namespace {

std::tuple<Tensor, Tensor> langevin_step(Tensor positions, Tensor velocities, Tensor forces, Tensor inverse_mass,
                                         Tensor thermal_speed, Tensor streams, int64_t seed, int64_t counter,
                                         double half_step, double keep, double noise_amplitude) {
  const int64_t n_atoms = positions.size(0);
  const auto matches = [&](const Tensor& tensor, int64_t n) {
    return tensor.numel() == n && tensor.scalar_type() == positions.scalar_type() &&
           tensor.is_cuda() == positions.is_cuda();
  };
  check(matches(positions, 3 * n_atoms) && matches(velocities, 3 * n_atoms) && matches(forces, 3 * n_atoms) &&
            matches(inverse_mass, n_atoms) && matches(thermal_speed, n_atoms) && streams.numel() == n_atoms,
        "the state: expected one row for each atom in tensors of one dtype and device, got others. To fix it, pass the "
        "tensors of one `MDState`.");
  const Tensor x = dense(positions), v = dense(velocities), f = dense(forces), m = dense(inverse_mass),
               s = dense(thermal_speed), names = dense(streams);
  const Tensor new_x = with_rows(x, n_atoms), new_v = with_rows(v, n_atoms);
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const LangevinRule<T> rule{static_cast<T>(half_step), static_cast<T>(keep), static_cast<T>(noise_amplitude)};
    const LangevinInput<T> in{data<T>(x),
                              data<T>(v),
                              data<T>(f),
                              data<T>(m),
                              data<T>(s),
                              index_data(names),
                              n_atoms,
                              static_cast<uint64_t>(seed),
                              static_cast<uint64_t>(counter),
                              rule};
    const LangevinOutput<T> out{mutable_data<T>(new_x), mutable_data<T>(new_v)};
    if (uses_cuda(x)) {
      const CudaScope scope(x);
      cuda::langevin_step(in, out, scope.stream);
    } else {
      cpu::langevin_step(in, out);
    }
  });
  return {new_x, new_v};
}

}  // namespace
}  // namespace flashmd

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def(
      "langevin_step(Tensor positions, Tensor velocities, Tensor forces, Tensor inverse_mass, Tensor thermal_speed, "
      "Tensor streams, int seed, int counter, float half_step, float keep, float noise_amplitude) -> "
      "(Tensor positions, Tensor velocities)");
}

#ifndef FLASHMD_EMULATED
STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  m.impl("langevin_step", TORCH_BOX(&flashmd::langevin_step));
}
#endif
STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  m.impl("langevin_step", TORCH_BOX(&flashmd::langevin_step));
}

// Binding of the analytic terms. What the tensors of the plan mean stands in flashmd/ops/prior_layout.py.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "cpu/priors.h"
#include "cuda/priors.h"
#include "tensors.h"

namespace flashmd {
namespace {

template <typename Row>
const Row* rows_of(const Tensor& tensor, int64_t n_columns) {
  check(tensor.dim() == 2 && tensor.size(1) == n_columns,
        "the plan of the terms: expected tables with the columns of this build, got others. To fix it, use "
        "`pack_terms`.");
  return reinterpret_cast<const Row*>(index_data(tensor));
}

std::tuple<Tensor, Tensor, Tensor> prior_terms(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, Tensor index,
                                               Tensor parameters, Tensor sections, Tensor cutoffs, Tensor ranges,
                                               Tensor slab_ptr, Tensor template_ptr, Tensor template_of, bool virial,
                                               int64_t instruction_set) {
  const int64_t n_systems = ptr.numel() - 1, n_atoms = positions.size(0);
  check(cell.scalar_type() == positions.scalar_type() && parameters.scalar_type() == positions.scalar_type(),
        "`cell` and parameters: expected the dtype of the positions, got another. To fix it, pack the terms again.");
  check(template_of.numel() == n_systems && index.scalar_type() == ScalarType::Int,
        "the plan of the terms: expected one made for this batch, got another. To fix it, use `pack_terms`.");
  check_segments(ptr, n_atoms);
  const Tensor x = dense(positions), lattice = dense(cell), flags = dense(pbc);
  const Tensor energy = torch::stable::new_empty(x, {n_systems}, ScalarType::Double);
  const Tensor forces = torch::stable::new_empty(x, {n_atoms, 3});
  const Tensor tensor = torch::stable::new_empty(x, {virial ? n_systems : 0, 3, 3}, ScalarType::Double);
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const PriorBatch<T> batch{data<T>(x), index_data(ptr), data<T>(lattice), data<bool>(flags), n_systems, n_atoms};
    const PriorOutput<T> out{mutable_data<double>(energy), mutable_data<T>(forces),
                             virial ? mutable_data<double>(tensor) : nullptr};
    if (uses_cuda(x)) {
      const CudaScope scope(x);
      const Tensor scratch = torch::stable::new_empty(x, {n_atoms, virial ? 10 : 1}, ScalarType::Double);
      const cuda::PriorPlan<T> plan{data<int32_t>(index),
                                    data<T>(parameters),
                                    rows_of<cuda::PriorSection>(sections, cuda::kPriorSectionColumns),
                                    data<double>(cutoffs),
                                    index_data(template_ptr),
                                    index_data(template_of)};
      cuda::prior_terms(batch, plan, out, mutable_data<double>(scratch), scope.stream);
    } else {
      const cpu::PriorPlan<T> plan{data<int32_t>(index),
                                   data<T>(parameters),
                                   rows_of<cpu::PriorSection>(sections, cpu::kPriorSectionColumns),
                                   data<double>(cutoffs),
                                   rows_of<cpu::PriorRange>(ranges, 3),
                                   index_data(slab_ptr),
                                   index_data(template_ptr),
                                   index_data(template_of)};
      cpu::prior_terms(batch, plan, out, cpu::choose_instruction_set(static_cast<int>(instruction_set)));
    }
  });
  return {energy, forces, tensor};
}

}  // namespace
}  // namespace flashmd

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def(
      "prior_terms(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, Tensor index, Tensor parameters, "
      "Tensor sections, Tensor cutoffs, Tensor ranges, Tensor slab_ptr, Tensor template_ptr, Tensor template_of, "
      "bool virial, int instruction_set=-1) -> (Tensor energy, Tensor forces, Tensor virial)");
}

#ifndef FLASHMD_EMULATED
STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  m.impl("prior_terms", TORCH_BOX(&flashmd::prior_terms));
}
#endif
STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  m.impl("prior_terms", TORCH_BOX(&flashmd::prior_terms));
}

// Steps of the evaluation of a frozen SchNet on a GPU; flashmd/potential/compiled/cuda.py puts them together. They
// write to memory that the caller keeps, so that nothing is allocated and a graph can record them.

#include <torch/csrc/stable/library.h>

#include <optional>

#include "cuda/node_layers.h"
#include "cuda/row_list.h"
#include "cuda/spline_rows.h"
#include "tensors.h"

namespace flashmd {
namespace {

constexpr const char* kWrongMemory =
    "frozen network: expected tensors of the sizes, dtypes and device that `FrozenCudaSchNet` makes, got others. To "
    "fix it, evaluate the network through it.";

// The memory of a tensor that must hold at least n numbers.
template <typename T>
T* memory(const Tensor& tensor, ScalarType dtype, int64_t n) {
  check(tensor.scalar_type() == dtype && tensor.is_contiguous() && tensor.numel() >= n && uses_cuda(tensor),
        kWrongMemory);
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
T* numbers(const Tensor& tensor, int64_t n) {
  return memory<T>(tensor, sizeof(T) == 4 ? ScalarType::Float : ScalarType::Double, n);
}
int64_t* longs(const Tensor& tensor, int64_t n) {
  return memory<int64_t>(tensor, ScalarType::Long, n);
}
int32_t* ints(const Tensor& tensor, int64_t n) {
  return memory<int32_t>(tensor, ScalarType::Int, n);
}

template <typename T>
T* numbers_if(const std::optional<Tensor>& tensor, int64_t n) {
  return tensor ? numbers<T>(*tensor, n) : nullptr;
}

void row_list_update_(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, Tensor reference, Tensor row_ptr,
                      Tensor sender, Tensor shift, Tensor state, double reach, double skin) {
  const int64_t n_atoms = positions.size(0), n_systems = ptr.numel() - 1, capacity = sender.numel();
  const CudaScope scope(positions);
  for_dtype(positions, [&](auto zero) {
    using T = decltype(zero);
    const Batch<T> batch{numbers<T>(positions, 3 * n_atoms),
                         longs(ptr, 1),
                         numbers<T>(cell, 9 * n_systems),
                         memory<bool>(pbc, ScalarType::Bool, 3 * n_systems),
                         n_atoms,
                         n_systems,
                         reach};
    const cuda::RowList<T> list{numbers<T>(reference, 3 * n_atoms),
                                ints(row_ptr, n_atoms + 1),
                                ints(sender, capacity),
                                shift.numel() ? ints(shift, 3 * capacity) : nullptr,
                                longs(state, cuda::kRowListState),
                                capacity};
    cuda::row_list_update(batch, skin, list, scope.stream);
  });
}

// Pairs as bytes: 16 for a pair, four numbers for a direction.
template <typename T>
cuda::RowPairs<T> row_pairs(const Tensor& row_ptr, const Tensor& row_count, const Tensor& pairs,
                            const std::optional<Tensor>& directions) {
  const int64_t n_atoms = row_ptr.numel() - 1, capacity = pairs.size(0);
  static_assert(sizeof(cuda::RowPair<T>) == 16 && sizeof(cuda::RowDirection<T>) == 4 * sizeof(T));
  return {ints(row_ptr, 1), ints(row_count, n_atoms), memory<cuda::RowPair<T>>(pairs, ScalarType::Byte, 16 * capacity),
          reinterpret_cast<cuda::RowDirection<T>*>(numbers_if<T>(directions, 4 * capacity))};
}

void row_geometry_(Tensor positions, Tensor batch, Tensor cell, Tensor sender, Tensor shift, Tensor row_ptr,
                   Tensor row_count, Tensor pairs, Tensor directions, double cutoff, int64_t n_intervals) {
  const int64_t n_atoms = positions.size(0), capacity = pairs.size(0);
  const CudaScope scope(positions);
  for_dtype(positions, [&](auto zero) {
    using T = decltype(zero);
    const cuda::RowGeometry<T> input{numbers<T>(positions, 3 * n_atoms),
                                     longs(batch, n_atoms),
                                     numbers<T>(cell, 0),
                                     ints(sender, capacity),
                                     shift.numel() ? ints(shift, 3 * capacity) : nullptr,
                                     n_atoms,
                                     static_cast<T>(cutoff),
                                     static_cast<T>(static_cast<double>(n_intervals) / cutoff),
                                     static_cast<int32_t>(n_intervals)};
    cuda::row_geometry(input, row_pairs<T>(row_ptr, row_count, pairs, directions), scope.stream);
  });
}

// Where and how the blocks work; `plan` holds keep, n_groups, n_parts, n_threads and most_atoms.
struct Rows {
  cuda::RowSystems systems;
  cuda::RowPlan plan;

  Rows(const Tensor& ptr, const Tensor& features, const Tensor& table, const std::vector<int64_t>& plan) {
    check(plan.size() == 5 && table.dim() == 4 && table.size(2) == 2 && table.size(3) == cuda::kSlice &&
              features.dim() == 2 && features.size(1) == table.size(0) * cuda::kSlice,
          kWrongMemory);
    systems = {longs(ptr, 1), ptr.numel() - 1, features.size(0)};
    this->plan = {static_cast<cuda::Keep>(plan[0]),    static_cast<int32_t>(plan[1]), static_cast<int32_t>(plan[2]),
                  static_cast<int32_t>(table.size(0)), static_cast<int32_t>(plan[3]), static_cast<int32_t>(plan[4])};
  }
};

void row_convolve_(Tensor table, Tensor features, Tensor ptr, Tensor row_ptr, Tensor row_count, Tensor pairs,
                   Tensor out, std::vector<int64_t> plan) {
  const Rows rows(ptr, features, table, plan);
  const CudaScope scope(features);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    const cuda::RowTable<T> knots{numbers<T>(table, 0), static_cast<int32_t>(table.size(1))};
    cuda::row_convolve(rows.systems, row_pairs<T>(row_ptr, row_count, pairs, std::nullopt), knots, rows.plan,
                       numbers<T>(features, 0), numbers<T>(out, features.numel()), scope.stream);
  });
}

void row_differentiate_(Tensor table, Tensor features, Tensor gradients, Tensor ptr, Tensor row_ptr, Tensor row_count,
                        Tensor pairs, Tensor directions, std::optional<Tensor> out, Tensor forces,
                        std::optional<Tensor> virial, double cutoff, bool add, std::vector<int64_t> plan) {
  const Rows rows(ptr, features, table, plan);
  const int64_t n_shares = features.size(0) * table.size(0);
  const CudaScope scope(features);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    const cuda::RowTable<T> knots{numbers<T>(table, 0), static_cast<int32_t>(table.size(1))};
    const cuda::RowGradients<T> from{numbers<T>(features, 0),
                                     numbers<T>(gradients, features.numel()),
                                     numbers_if<T>(out, features.numel()),
                                     numbers<T>(forces, 3 * n_shares),
                                     numbers_if<T>(virial, 6 * n_shares),
                                     static_cast<T>(static_cast<double>(table.size(1) - 1) / cutoff),
                                     add};
    cuda::row_differentiate(rows.systems, row_pairs<T>(row_ptr, row_count, pairs, directions), knots, rows.plan, from,
                            scope.stream);
  });
}

void node_layer_(Tensor values, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> residual,
                 std::optional<Tensor> gate, int64_t activation, bool activate_input, Tensor out) {
  const int64_t n_rows = values.size(0), n_in = weight.size(0), n_out = weight.size(1);
  const CudaScope scope(values);
  for_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    const cuda::NodeLayer<T> layer{numbers<T>(values, n_rows * n_in),
                                   numbers<T>(weight, 0),
                                   numbers_if<T>(bias, n_out),
                                   numbers_if<T>(residual, n_rows * n_out),
                                   numbers_if<T>(gate, n_rows * n_out),
                                   numbers<T>(out, n_rows * n_out),
                                   n_rows,
                                   static_cast<int32_t>(n_in),
                                   static_cast<int32_t>(n_out),
                                   static_cast<Activation>(activation),
                                   activate_input};
    cuda::node_layer(layer, scope.stream);
  });
}

void node_energy_(Tensor values, Tensor weight, std::optional<Tensor> bias, int64_t activation, bool activate_input,
                  Tensor energy, Tensor gradient) {
  const int64_t n_atoms = values.size(0), n_in = values.size(1);
  const CudaScope scope(values);
  for_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    const cuda::NodeEnergy<T> layer{numbers<T>(values, 0),
                                    numbers<T>(weight, n_in),
                                    numbers_if<T>(bias, 1),
                                    numbers<T>(energy, n_atoms),
                                    numbers<T>(gradient, n_atoms * n_in),
                                    n_atoms,
                                    static_cast<int32_t>(n_in),
                                    static_cast<Activation>(activation),
                                    activate_input};
    cuda::node_energy(layer, scope.stream);
  });
}

void frozen_totals_(Tensor atom_energy, Tensor force_share, std::optional<Tensor> virial_share, Tensor ptr,
                    Tensor state, int64_t capacity, Tensor energy, Tensor forces, std::optional<Tensor> virial) {
  const int64_t n_systems = ptr.numel() - 1, n_atoms = atom_energy.numel(), n_slices = force_share.size(0);
  const CudaScope scope(atom_energy);
  for_dtype(atom_energy, [&](auto zero) {
    using T = decltype(zero);
    const cuda::Totals<T> totals{numbers<T>(atom_energy, 0),
                                 numbers<T>(force_share, 3 * n_slices * n_atoms),
                                 numbers_if<T>(virial_share, 6 * n_slices * n_atoms),
                                 longs(ptr, 1),
                                 longs(state, cuda::kRowListState),
                                 capacity,
                                 n_systems,
                                 n_atoms,
                                 static_cast<int32_t>(n_slices),
                                 numbers<double>(energy, n_systems),
                                 numbers<T>(forces, 3 * n_atoms),
                                 numbers_if<double>(virial, 9 * n_systems)};
    cuda::totals(totals, scope.stream);
  });
}

}  // namespace
}  // namespace flashmd

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def(
      "row_list_update_(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, Tensor(a!) reference, Tensor(b!) "
      "row_ptr, Tensor(c!) sender, Tensor(d!) shift, Tensor(e!) state, float reach, float skin) -> ()");
  m.def(
      "row_geometry_(Tensor positions, Tensor batch, Tensor cell, Tensor sender, Tensor shift, Tensor row_ptr, "
      "Tensor(a!) row_count, Tensor(b!) pairs, Tensor(c!) directions, float cutoff, int n_intervals) -> ()");
  m.def(
      "row_convolve_(Tensor table, Tensor features, Tensor ptr, Tensor row_ptr, Tensor row_count, Tensor pairs, "
      "Tensor(a!) out, int[] plan) -> ()");
  m.def(
      "row_differentiate_(Tensor table, Tensor features, Tensor gradients, Tensor ptr, Tensor row_ptr, Tensor "
      "row_count, Tensor pairs, Tensor directions, Tensor(a!)? out, Tensor(b!) forces, Tensor(c!)? virial, float "
      "cutoff, bool add, int[] plan) -> ()");
  m.def(
      "node_layer_(Tensor values, Tensor weight, Tensor? bias, Tensor? residual, Tensor? gate, int activation, bool "
      "activate_input, Tensor(a!) out) -> ()");
  m.def(
      "node_energy_(Tensor values, Tensor weight, Tensor? bias, int activation, bool activate_input, Tensor(a!) "
      "energy, Tensor(b!) gradient) -> ()");
  m.def(
      "frozen_totals_(Tensor atom_energy, Tensor force_share, Tensor? virial_share, Tensor ptr, Tensor state, int "
      "capacity, Tensor(a!) energy, Tensor(b!) forces, Tensor(c!)? virial) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  m.impl("row_list_update_", TORCH_BOX(&flashmd::row_list_update_));
  m.impl("row_geometry_", TORCH_BOX(&flashmd::row_geometry_));
  m.impl("row_convolve_", TORCH_BOX(&flashmd::row_convolve_));
  m.impl("row_differentiate_", TORCH_BOX(&flashmd::row_differentiate_));
  m.impl("node_layer_", TORCH_BOX(&flashmd::node_layer_));
  m.impl("node_energy_", TORCH_BOX(&flashmd::node_energy_));
  m.impl("frozen_totals_", TORCH_BOX(&flashmd::frozen_totals_));
}

// Binding of the frozen SchNet on the CPU: checks, groups of systems, workspaces, threads.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "cpu/parallel.h"
#include "cpu/schnet.h"
#include "cpu/tiles.h"
#include "tensors.h"

namespace flashmd {
namespace {

// Small systems are evaluated together up to this many atoms, so that tiles of atoms are full, and up to this many
// pairs, so that sums over pairs are cut in the same places whatever else is in the batch.
constexpr int64_t kGroupAtoms = 96;
constexpr int64_t kGroupPairs = 2048;

cpu::SchNetSizes read_sizes(const Tensor& tensor) {
  cpu::SchNetSizes sizes;
  check(cpu::read_schnet_sizes(index_data(tensor), tensor.numel(), sizes),
        "`sizes`: expected those of a packed model (at most 64 blocks and 8 hidden readout layers), got others. To fix "
        "it, pack the model with `pack`.");
  return sizes;
}

struct Packed {
  cpu::SchNetSizes sizes;
  Tensor weights, tiles, constants, table;
  double cutoff;
};

void check_packed(const Packed& packed, const Tensor& positions) {
  const bool full = packed.sizes.storage == cpu::Storage::full;
  check(packed.constants.scalar_type() == positions.scalar_type() &&
            packed.table.scalar_type() == positions.scalar_type() &&
            (full ? packed.weights.scalar_type() == positions.scalar_type()
                  : packed.weights.scalar_type() == ScalarType::Short),
        "the packed model: expected the dtype of the positions, got another. To fix it, compile the potential for this "
        "dtype.");
  const int64_t knots = packed.sizes.n_blocks * packed.sizes.n_filters * (packed.sizes.n_intervals + 1) * 2;
  check(packed.weights.numel() == cpu::schnet_weights_size(packed.sizes) &&
            packed.constants.numel() == cpu::schnet_constants_size(packed.sizes) && packed.table.numel() == knots &&
            (packed.tiles.numel() == 0 || (packed.tiles.numel() == cpu::schnet_tiles_size(packed.sizes) &&
                                           packed.tiles.scalar_type() == ScalarType::Short)) &&
            packed.weights.is_contiguous() && packed.tiles.is_contiguous() && packed.constants.is_contiguous() &&
            packed.table.is_contiguous(),
        "the packed model: expected arrays of the packed sizes, got others. To fix it, pack the model with `pack`.");
}

const int32_t* pair_data(const Tensor& tensor) {
  check(tensor.scalar_type() == ScalarType::Int && tensor.is_contiguous(),
        "pairs: expected contiguous int32, got others. To fix it, convert them with `.to(torch.int32).contiguous()`.");
  return static_cast<const int32_t*>(tensor.const_data_ptr());
}

std::vector<cpu::SchNetGroup> make_groups(const int64_t* ptr, const int64_t* pair_ptr, int64_t n_systems) {
  std::vector<cpu::SchNetGroup> groups;
  for (int64_t begin = 0, end = 0; begin < n_systems; begin = end) {
    end = begin + 1;
    while (end < n_systems && ptr[end + 1] - ptr[begin] <= kGroupAtoms &&
           pair_ptr[end + 1] - pair_ptr[begin] <= kGroupPairs) {
      ++end;
    }
    groups.push_back(
        {begin, end - begin, ptr[begin], ptr[end] - ptr[begin], pair_ptr[begin], pair_ptr[end] - pair_ptr[begin]});
  }
  return groups;
}

const uint16_t* tile_data(const Tensor& tiles) {
  return tiles.numel() > 0 ? static_cast<const uint16_t*>(tiles.const_data_ptr()) : nullptr;
}

template <typename T>
cpu::SchNetModel<T> model_of(const Packed& packed, cpu::InstructionSet level) {
  return {packed.sizes,
          packed.weights.const_data_ptr(),
          level == cpu::InstructionSet::amx ? tile_data(packed.tiles) : nullptr,
          data<T>(packed.constants),
          data<T>(packed.table),
          static_cast<T>(packed.cutoff)};
}

// Who evaluates which group in which part of the workspace: as many groups as the threads can share evenly, one thread
// each, `size` numbers each; what remains, all threads together.
template <typename T>
class Division {
public:
  Division(const cpu::SchNetModel<T>& model, std::vector<cpu::SchNetGroup> groups)
      : groups_(std::move(groups)), n_all_(torch::stable::get_num_threads()), model_(model) {
    const int64_t n_groups = static_cast<int64_t>(groups_.size());
    n_threads_ = std::min<int64_t>(n_all_, std::max<int64_t>(n_groups, 1));
    n_shared_ = n_threads_ > 1 ? n_groups / n_threads_ * n_threads_ : 0;
    for (int64_t g = 0; g < n_groups; ++g) {
      const cpu::SchNetGroup& group = groups_[g];
      size_ = std::max(size_, cpu::schnet_workspace_size<T>(model, group.n_atoms, group.n_pairs, threads_of(g)));
    }
  }

  int64_t workspace_size() const { return size_ * n_threads_; }

  // Call function(group, workspace, threads) for all groups.
  template <typename F>
  void run(T* space, const F& function) const {
    cpu::parallel_for(n_threads_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t thread = begin; thread < end; ++thread) {
        const int64_t share = n_shared_ / n_threads_;
        for (int64_t g = share * thread; g < share * (thread + 1); ++g) function(groups_[g], space + size_ * thread, 1);
      }
    });
    for (int64_t g = n_shared_; g < static_cast<int64_t>(groups_.size()); ++g) {
      function(groups_[g], space, threads_of(g));
    }
  }

private:
  int64_t threads_of(int64_t group) const {
    return group >= n_shared_ && cpu::worth_a_team(model_.sizes, groups_[group]) ? n_all_ : 1;
  }

  const std::vector<cpu::SchNetGroup> groups_;
  const int64_t n_all_;
  const cpu::SchNetModel<T>& model_;
  int64_t n_threads_ = 1, n_shared_ = 0, size_ = 0;
};

template <typename T>
void evaluate_batch(const cpu::SchNetModel<T>& model, const cpu::SchNetBatch<T>& batch,
                    const cpu::SchNetResult<T>& result, int64_t n_systems, const Tensor& workspace,
                    cpu::InstructionSet level) {
  const Division<T> division(model, make_groups(batch.ptr, batch.pair_ptr, n_systems));
  check(workspace.numel() >= division.workspace_size() && workspace.is_contiguous(),
        "`workspace`: expected as many contiguous numbers as this batch and number of threads need, got fewer. To fix "
        "it, pass one of `workspace_size(...)` numbers.");
  division.run(mutable_data<T>(workspace), [&](const cpu::SchNetGroup& group, T* space, int64_t n_threads) {
    FLASHMD_DISPATCH(level, evaluate_schnet<T>, model, batch, group, result, space, n_threads);
  });
}

void check_batch(const Tensor& positions, const Tensor& types, const Tensor& ptr, const Tensor& receiver,
                 const Tensor& sender, const Tensor& image, const Tensor& pair_ptr) {
  check(types.numel() == positions.size(0) && positions.size(1) == 3,
        "`positions`: expected shape (n_atoms, 3) as `types`, got another. To fix it, pass those of one system.");
  check_segments(ptr, positions.size(0));
  check_segments(pair_ptr, receiver.numel());
  check(pair_ptr.numel() == ptr.numel() && sender.numel() == receiver.numel() &&
            (image.numel() == 0 || image.numel() == 3 * receiver.numel()) &&
            image.scalar_type() == positions.scalar_type() && image.is_contiguous(),
        "pairs: expected one sender, receiver and image each and bounds for every system, got others. To fix it, pass "
        "the pairs of this batch.");
}

std::tuple<Tensor, Tensor, Tensor> schnet_evaluate(Tensor positions, Tensor types, Tensor ptr, Tensor receiver,
                                                   Tensor sender, Tensor image, Tensor pair_ptr, Tensor sizes,
                                                   Tensor weights, Tensor tiles, Tensor constants, Tensor table,
                                                   Tensor workspace, double cutoff, bool virial,
                                                   int64_t instruction_set) {
  check_batch(positions, types, ptr, receiver, sender, image, pair_ptr);
  const Packed packed{read_sizes(sizes), weights, tiles, constants, table, cutoff};
  check_packed(packed, positions);
  check(workspace.scalar_type() == positions.scalar_type(),
        "`workspace`: expected the dtype of the positions, got another. To fix it, pass one of their dtype.");
  const Tensor x = dense(positions);
  const int64_t n_systems = ptr.numel() - 1;
  const Tensor energy = torch::stable::new_empty(x, {n_systems}, ScalarType::Double);
  const Tensor forces = torch::stable::new_empty(x, {x.size(0), 3});
  const Tensor strain = torch::stable::new_empty(x, {virial ? n_systems : 0, 3, 3}, ScalarType::Double);
  const auto level = cpu::choose_instruction_set(static_cast<int>(instruction_set));
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const cpu::SchNetBatch<T> batch{data<T>(x),          index_data(types),
                                    index_data(ptr),     pair_data(receiver),
                                    pair_data(sender),   image.numel() > 0 ? data<T>(image) : nullptr,
                                    index_data(pair_ptr)};
    const cpu::SchNetResult<T> result{mutable_data<double>(energy), mutable_data<T>(forces),
                                      virial ? mutable_data<double>(strain) : nullptr};
    evaluate_batch<T>(model_of<T>(packed, level), batch, result, n_systems, workspace, level);
  });
  return {energy, forces, strain};
}

// Numbers that evaluations with so many threads as torch has now need.
int64_t schnet_workspace_size(Tensor ptr, Tensor pair_ptr, Tensor sizes, Tensor weights, Tensor tiles, Tensor constants,
                              Tensor table, double cutoff, int64_t instruction_set) {
  check_segments(ptr, ptr.numel() > 0 ? index_data(ptr)[ptr.numel() - 1] : 0);
  check_segments(pair_ptr, pair_ptr.numel() > 0 ? index_data(pair_ptr)[pair_ptr.numel() - 1] : 0);
  check(ptr.numel() == pair_ptr.numel(),
        "`pair_ptr`: expected bounds for every system, got others. To fix it, pass those of the pairs of this batch.");
  const Packed packed{read_sizes(sizes), weights, tiles, constants, table, cutoff};
  check_packed(packed, constants);
  const auto level = cpu::choose_instruction_set(static_cast<int>(instruction_set));
  const auto groups = make_groups(index_data(ptr), index_data(pair_ptr), ptr.numel() - 1);
  int64_t size = 0;
  for_dtype(constants, [&](auto zero) {
    using T = decltype(zero);
    size = Division<T>(model_of<T>(packed, level), groups).workspace_size();
  });
  return size;
}

// The matrices of a packed model for float32 as tiles; nothing where the processor multiplies none.
Tensor schnet_tiles(Tensor sizes, Tensor weights) {
  const cpu::SchNetSizes model = read_sizes(sizes);
  const auto type = model.storage == cpu::Storage::full ? ScalarType::Float : ScalarType::Short;
  check(weights.scalar_type() == type && weights.is_contiguous() && weights.numel() == cpu::schnet_weights_size(model),
        "`weights`: expected those of a packed float32 model, got others. To fix it, pack the model with `pack`.");
  const int64_t size = cpu::has_tiles() ? cpu::schnet_tiles_size(model) : 0;
  const Tensor tiles = torch::stable::new_empty(weights, {size}, ScalarType::Short);
  if (size > 0) {
    cpu::pack_tiles(model, weights.const_data_ptr(), static_cast<uint16_t*>(tiles.mutable_data_ptr()));
  }
  return tiles;
}

}  // namespace
}  // namespace flashmd

STABLE_TORCH_LIBRARY_FRAGMENT(flashmd, m) {
  m.def(
      "schnet_evaluate(Tensor positions, Tensor types, Tensor ptr, Tensor receiver, Tensor sender, Tensor image, "
      "Tensor pair_ptr, Tensor sizes, Tensor weights, Tensor tiles, Tensor constants, Tensor table, Tensor(a!) "
      "workspace, float cutoff, bool virial, int instruction_set=-1) -> (Tensor energy, Tensor forces, Tensor virial)");
  m.def(
      "schnet_workspace_size(Tensor ptr, Tensor pair_ptr, Tensor sizes, Tensor weights, Tensor tiles, Tensor "
      "constants, Tensor table, float cutoff, int instruction_set=-1) -> int");
  m.def("schnet_tiles(Tensor sizes, Tensor weights) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  m.impl("schnet_evaluate", TORCH_BOX(&flashmd::schnet_evaluate));
  m.impl("schnet_workspace_size", TORCH_BOX(&flashmd::schnet_workspace_size));
  m.impl("schnet_tiles", TORCH_BOX(&flashmd::schnet_tiles));
}

// Schemas and bindings of the convolution with tabulated filters; see cpu/spline.h and flashmd/ops/spline_conv.py.

#include <torch/csrc/stable/library.h>

#include <limits>
#include <optional>
#include <tuple>

#include "cpu/spline.h"
#include "spline_schemas.h"
#include "tensors.h"

namespace flashmd {
namespace {

const int32_t* int32_data(const Tensor& tensor) {
  check(tensor.scalar_type() == ScalarType::Int && tensor.is_contiguous(),
        "sorted pairs: expected contiguous int32 tensors, got others. To fix it, use `sort_pairs`.");
  return static_cast<const int32_t*>(tensor.const_data_ptr());
}

cpu::SplinePairs sorted_pairs(const Tensor& index, const Tensor& groups, int64_t n_atoms, int64_t n_intervals) {
  check(index.dim() == 2 && index.size(0) == 4 && groups.dim() == 2 && groups.size(0) == 2 &&
            groups.size(1) == n_atoms + 2,
        "sorted pairs: expected those of the same atoms, got others. To fix it, use `sort_pairs`.");
  const int64_t n_pairs = index.size(1);
  const int32_t *pair = int32_data(index), *group = int32_data(groups);
  return {pair,
          pair + n_pairs,
          pair + 2 * n_pairs,
          group,
          group + n_atoms + 2,
          n_pairs,
          n_atoms,
          cpu::spline_groups(group, n_atoms),
          n_intervals};
}

// The arguments that all operators share, made contiguous and checked against each other.
struct SplineTensors {
  Tensor features, fraction, values, slopes, index, groups;
  double spacing;
  std::optional<Tensor> grad;

  void prepare() {
    check(features.dim() == 2 && values.dim() == 2 && slopes.dim() == 2 && values.size(0) > 1 &&
              values.size(1) == features.size(1) && slopes.size(0) == values.size(0) &&
              slopes.size(1) == values.size(1) && index.dim() == 2 && fraction.numel() == index.size(1),
          "spline convolution: expected features (n_atoms, n_channels), one fraction for each pair, values and slopes "
          "(n_knots, n_channels), got others. To fix it, match the sorted pairs.");
    check(fraction.scalar_type() == features.scalar_type() && values.scalar_type() == features.scalar_type() &&
              slopes.scalar_type() == features.scalar_type(),
          "values: expected tensors of one dtype and device, got different ones. To fix it, convert one of them.");
    features = dense(features);
    fraction = dense(fraction);
    values = dense(values);
    slopes = dense(slopes);
    if (grad) check_rows(*grad, features.size(0), features);
    if (grad) grad = dense(*grad);
  }

  template <typename T>
  cpu::SplineInput<T> input() const {
    return {sorted_pairs(index, groups, features.size(0), values.size(0) - 1),
            features.size(1),
            grad ? data<T>(*grad) : nullptr,
            data<T>(features),
            data<T>(fraction),
            {data<T>(values), data<T>(slopes)},
            static_cast<T>(spacing)};
  }
};

// Memory for the kernels; the tensors live as long as it.
struct Workspace {
  Tensor chunks, partial;

  Workspace(const SplineTensors& from, int64_t n_arrays, bool with_partial)
      : chunks(torch::stable::new_empty(from.features,
                                        {n_arrays, n_chunks(from), from.features.size(0), cpu::kSplineLanes})),
        partial(torch::stable::new_empty(from.features, {with_partial ? n_chunks(from) : 0, from.fraction.numel()})) {}

  static int64_t n_chunks(const SplineTensors& from) { return cpu::spline_chunks(from.features.size(1)); }

  template <typename T>
  cpu::SplineWorkspace<T> view() const {
    return {mutable_data<T>(chunks), mutable_data<T>(partial)};
  }
};

// Like `tensor` where wanted, otherwise of no element.
Tensor empty_if(bool wanted, const Tensor& tensor) {
  if (!wanted) return torch::stable::new_empty(tensor, {0});
  const std::vector<int64_t> sizes(tensor.sizes().begin(), tensor.sizes().end());
  return torch::stable::new_empty(tensor, sizes);
}

template <typename T>
T* pointer_if(bool wanted, const Tensor& tensor) {
  return wanted ? mutable_data<T>(tensor) : nullptr;
}

std::tuple<Tensor, Tensor> spline_sort(Tensor distance, Tensor receiver, Tensor sender, int64_t n_atoms,
                                       int64_t n_intervals, double cutoff) {
  const int64_t n_pairs = receiver.numel(), limit = std::numeric_limits<int32_t>::max();
  check(sender.numel() == n_pairs && distance.numel() == n_pairs && n_pairs <= limit && n_atoms < limit,
        "`distance`: expected one distance for each of at most 2^31 pairs, got another number. To fix it, use "
        "`edge_geometry`.");
  check(n_intervals > 0 && n_intervals < limit && cutoff > 0.0,
        "table: expected at least one interval and a positive cutoff, got others. To fix it, use `tabulate`.");
  const Tensor d = dense(distance);
  const Tensor index = torch::stable::new_empty(d, {4, n_pairs}, ScalarType::Int);
  const Tensor groups = torch::stable::new_empty(d, {2, n_atoms + 2}, ScalarType::Int);
  const cpu::SplineSortInput input{index_data(receiver), index_data(sender), n_pairs, n_atoms, n_intervals, cutoff};
  for_dtype(d, [&](auto zero) {
    using T = decltype(zero);
    cpu::spline_sort(data<T>(d), input, mutable_data<int32_t>(index), mutable_data<int32_t>(groups));
  });
  return {index, groups};
}

Tensor spline_conv(Tensor features, Tensor fraction, Tensor values, Tensor slopes, Tensor index, Tensor groups,
                   double spacing, int64_t instruction_set) {
  SplineTensors from{features, fraction, values, slopes, index, groups, spacing, std::nullopt};
  from.prepare();
  const Tensor out = with_rows(from.features, from.features.size(0));
  const Workspace work(from, cpu::kConvolveArrays, false);
  const cpu::InstructionSet level = cpu::choose_instruction_set(static_cast<int>(instruction_set));
  for_dtype(from.features, [&](auto zero) {
    using T = decltype(zero);
    FLASHMD_DISPATCH(level, spline_convolve, from.input<T>(), work.view<T>(), mutable_data<T>(out));
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> spline_conv_backward(Tensor grad, Tensor features, Tensor fraction,
                                                                Tensor values, Tensor slopes, Tensor index,
                                                                Tensor groups, double spacing, bool want_features,
                                                                bool want_fraction, bool want_table,
                                                                int64_t instruction_set) {
  SplineTensors from{features, fraction, values, slopes, index, groups, spacing, grad};
  from.prepare();
  const Tensor to_features = empty_if(want_features, from.features),
               to_fraction = empty_if(want_fraction, from.fraction), to_values = empty_if(want_table, from.values),
               to_slopes = empty_if(want_table, from.slopes);
  const Workspace work(from, cpu::kFirstArrays, want_fraction);
  const cpu::InstructionSet level = cpu::choose_instruction_set(static_cast<int>(instruction_set));
  for_dtype(from.features, [&](auto zero) {
    using T = decltype(zero);
    const cpu::SplineOutput<T> out{nullptr,
                                   pointer_if<T>(want_features, to_features),
                                   pointer_if<T>(want_fraction, to_fraction),
                                   {pointer_if<T>(want_table, to_values), pointer_if<T>(want_table, to_slopes)}};
    FLASHMD_DISPATCH(level, spline_first, from.input<T>(), work.view<T>(), out);
  });
  return {to_features, to_fraction, to_values, to_slopes};
}

// A cotangent as the kernels read it: contiguous, of the shape and dtype of its value.
std::optional<Tensor> cotangent_of(const std::optional<Tensor>& cotangent, const Tensor& value) {
  if (!cotangent) return std::nullopt;
  check(cotangent->numel() == value.numel() && cotangent->scalar_type() == value.scalar_type(),
        "cotangents: expected the shapes and the dtype of the gradients, got others. To fix it, match them.");
  return dense(*cotangent);
}

template <typename T>
const T* pointer_of(const std::optional<Tensor>& tensor) {
  return tensor ? data<T>(*tensor) : nullptr;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> spline_conv_double_backward(
    Tensor grad, Tensor features, Tensor fraction, Tensor values, Tensor slopes, std::optional<Tensor> dot_features,
    std::optional<Tensor> dot_fraction, std::optional<Tensor> dot_values, std::optional<Tensor> dot_slopes,
    Tensor index, Tensor groups, double spacing, bool want_fraction, int64_t instruction_set) {
  SplineTensors from{features, fraction, values, slopes, index, groups, spacing, grad};
  from.prepare();
  check(dot_values.has_value() == dot_slopes.has_value(),
        "cotangents: expected those of values and slopes together, got one of them. To fix it, pass zeros.");
  const auto dot_x = cotangent_of(dot_features, from.features), dot_u = cotangent_of(dot_fraction, from.fraction),
             dot_v = cotangent_of(dot_values, from.values), dot_s = cotangent_of(dot_slopes, from.slopes);
  const Tensor to_grad = empty_if(true, from.features), to_features = empty_if(true, from.features),
               to_fraction = empty_if(want_fraction, from.fraction), to_values = empty_if(true, from.values),
               to_slopes = empty_if(true, from.slopes);
  const Workspace work(from, cpu::kSecondArrays, want_fraction || dot_v.has_value());
  const cpu::InstructionSet level = cpu::choose_instruction_set(static_cast<int>(instruction_set));
  for_dtype(from.features, [&](auto zero) {
    using T = decltype(zero);
    const cpu::SplineCotangent<T> dots{
        pointer_of<T>(dot_x), pointer_of<T>(dot_u), {pointer_of<T>(dot_v), pointer_of<T>(dot_s)}};
    const cpu::SplineOutput<T> out{mutable_data<T>(to_grad),
                                   mutable_data<T>(to_features),
                                   pointer_if<T>(want_fraction, to_fraction),
                                   {mutable_data<T>(to_values), mutable_data<T>(to_slopes)}};
    FLASHMD_DISPATCH(level, spline_second, from.input<T>(), dots, work.view<T>(), out);
  });
  return {to_grad, to_features, to_fraction, to_values, to_slopes};
}

}  // namespace
}  // namespace flashmd

STABLE_TORCH_LIBRARY_FRAGMENT(flashmd, m) {
  m.def(
      "spline_sort(Tensor distance, Tensor receiver, Tensor sender, int n_atoms, int n_intervals, float cutoff) -> "
      "(Tensor index, Tensor groups)");
  m.def(FLASHMD_SPLINE_CONV);
  m.def(FLASHMD_SPLINE_CONV_BACKWARD);
  m.def(FLASHMD_SPLINE_CONV_DOUBLE_BACKWARD);
}

STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  m.impl("spline_sort", TORCH_BOX(&flashmd::spline_sort));
  m.impl("spline_conv", TORCH_BOX(&flashmd::spline_conv));
  m.impl("spline_conv_backward", TORCH_BOX(&flashmd::spline_conv_backward));
  m.impl("spline_conv_double_backward", TORCH_BOX(&flashmd::spline_conv_double_backward));
}

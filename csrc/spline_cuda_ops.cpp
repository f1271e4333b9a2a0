// The convolution with tabulated filters on a GPU; pairs are sorted by `sort_pairs`, which lists them for each atom
// too.

#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cuda/spline_training.h"
#include "spline_schemas.h"
#include "tensors.h"

namespace flashmd {
namespace {

const int32_t* sorted_data(const Tensor& tensor) {
  check(tensor.scalar_type() == ScalarType::Int && tensor.is_contiguous() && uses_cuda(tensor),
        "sorted pairs: expected contiguous int32 tensors on the GPU, got others. To fix it, use `sort_pairs`.");
  return static_cast<const int32_t*>(tensor.const_data_ptr());
}

// The tensors of a call, dense, and the numbers of their elements checked against each other.
struct SplineCall {
  Tensor features, fraction, values, slopes, index, groups;
  double spacing;
  std::optional<Tensor> grad, along, dot_fraction, dot_values, dot_slopes;

  void check_sizes() const {
    check(features.dim() == 2 && values.dim() == 2 && values.size(0) > 1 && values.size(1) == features.size(1) &&
              index.dim() == 2 && index.size(0) == 6 && fraction.numel() == index.size(1) && groups.dim() == 2 &&
              groups.size(1) == features.size(0) + 2,
          "spline convolution: expected features (n_atoms, n_channels), one fraction for each pair, values and slopes "
          "(n_knots, n_channels) and pairs sorted for a GPU, got others. To fix it, use `sort_pairs`.");
  }

  // `tensor` with the shape and dtype of `like`.
  template <typename T>
  const T* numbers(std::optional<Tensor>& tensor, const Tensor& like) const {
    if (!tensor) return nullptr;
    check(tensor->numel() == like.numel() && tensor->scalar_type() == features.scalar_type() && uses_cuda(*tensor),
          "values: expected tensors of one dtype and device, got different ones. To fix it, convert one of them.");
    tensor = dense(*tensor);
    return data<T>(*tensor);
  }

  template <typename T>
  cuda::SplineTerms<T> terms() {
    check_sizes();
    const int64_t n_pairs = index.size(1);
    const int32_t* row = sorted_data(index);
    std::optional<Tensor> x = features, u = fraction, v = values, s = slopes;
    const cuda::SplinePairs pairs{row,     row + n_pairs,   row + 2 * n_pairs, row + 4 * n_pairs, sorted_data(groups),
                                  n_pairs, features.size(0)};
    const cuda::SplineTerms<T> found{pairs,
                                     features.size(1),
                                     values.size(0),
                                     static_cast<T>(spacing),
                                     numbers<T>(u, fraction),
                                     {numbers<T>(v, values), numbers<T>(s, values)},
                                     numbers<T>(grad, features),
                                     numbers<T>(x, features),
                                     numbers<T>(along, features),
                                     numbers<T>(dot_fraction, fraction),
                                     {numbers<T>(dot_values, values), numbers<T>(dot_slopes, values)}};
    features = *x, fraction = *u, values = *v, slopes = *s;  // the dense ones live as long as this
    return found;
  }
};

Tensor like_if(bool wanted, const Tensor& tensor) {
  if (!wanted) return torch::stable::new_empty(tensor, {0});
  const std::vector<int64_t> sizes(tensor.sizes().begin(), tensor.sizes().end());
  return torch::stable::new_empty(tensor, sizes);
}

Tensor spline_conv(Tensor features, Tensor fraction, Tensor values, Tensor slopes, Tensor index, Tensor groups,
                   double spacing, int64_t) {
  const CudaScope scope(features);
  const Tensor out = like_if(true, features);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    SplineCall call{features, fraction, values, slopes, index, groups, spacing, {}, {}, {}, {}, {}};
    const cuda::SplineTerms<T> terms = call.terms<T>();
    cuda::spline_gather<T>(terms, terms.features, nullptr, mutable_data<T>(out), scope.stream);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> spline_conv_backward(Tensor grad, Tensor features, Tensor fraction,
                                                                Tensor values, Tensor slopes, Tensor index,
                                                                Tensor groups, double spacing, bool want_features,
                                                                bool want_fraction, bool want_table, int64_t) {
  const CudaScope scope(features);
  const Tensor to_features = like_if(want_features, features), to_fraction = like_if(want_fraction, fraction),
               to_values = like_if(want_table, values), to_slopes = like_if(want_table, values);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    SplineCall call{features, fraction, values, slopes, index, groups, spacing, grad, features, {}, {}, {}};
    const cuda::SplineTerms<T> terms = call.terms<T>();
    if (want_features) {
      cuda::spline_gather<T>(terms, terms.grad, nullptr, mutable_data<T>(to_features), scope.stream);
    }
    if (want_fraction) cuda::spline_to_fraction<T>(terms, mutable_data<T>(to_fraction), scope.stream);
    if (want_table) {
      cuda::spline_to_table<T>(terms, mutable_data<T>(to_values), mutable_data<T>(to_slopes), scope.stream);
    }
  });
  return {to_features, to_fraction, to_values, to_slopes};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> spline_conv_double_backward(
    Tensor grad, Tensor features, Tensor fraction, Tensor values, Tensor slopes, std::optional<Tensor> dot_features,
    std::optional<Tensor> dot_fraction, std::optional<Tensor> dot_values, std::optional<Tensor> dot_slopes,
    Tensor index, Tensor groups, double spacing, bool want_fraction, int64_t) {
  check(dot_values.has_value() == dot_slopes.has_value(),
        "cotangents: expected those of values and slopes together, got one of them. To fix it, pass zeros.");
  const CudaScope scope(features);
  const Tensor to_grad = like_if(true, features), to_features = like_if(true, features),
               to_fraction = like_if(want_fraction, fraction), to_values = like_if(true, values),
               to_slopes = like_if(true, values);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    SplineCall call{features, fraction, values,       slopes,       index,      groups,
                    spacing,  grad,     dot_features, dot_fraction, dot_values, dot_slopes};
    const cuda::SplineTerms<T> terms = call.terms<T>();
    cuda::spline_gather<T>(terms, terms.along, terms.features, mutable_data<T>(to_grad), scope.stream);
    cuda::spline_gather<T>(terms, nullptr, terms.grad, mutable_data<T>(to_features), scope.stream);
    if (want_fraction) cuda::spline_to_fraction<T>(terms, mutable_data<T>(to_fraction), scope.stream);
    cuda::spline_to_table<T>(terms, mutable_data<T>(to_values), mutable_data<T>(to_slopes), scope.stream);
  });
  return {to_grad, to_features, to_fraction, to_values, to_slopes};
}

}  // namespace
}  // namespace flashmd

#ifdef FLASHMD_EMULATED
STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def(FLASHMD_SPLINE_CONV);
  m.def(FLASHMD_SPLINE_CONV_BACKWARD);
  m.def(FLASHMD_SPLINE_CONV_DOUBLE_BACKWARD);
}
#endif

STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  m.impl("spline_conv", TORCH_BOX(&flashmd::spline_conv));
  m.impl("spline_conv_backward", TORCH_BOX(&flashmd::spline_conv_backward));
  m.impl("spline_conv_double_backward", TORCH_BOX(&flashmd::spline_conv_double_backward));
}

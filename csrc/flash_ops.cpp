// Convolution with recomputed filters and its derivatives: schemas and bindings.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "cpu/flash.h"
#include "cuda/flash.h"
#include "tensors.h"

namespace flashmd {
namespace {

using cpu::choose_instruction_set;

// Centres, widths, inner weights, bias, outer weights.
using WeightTensors = std::array<Tensor, 5>;

struct FormNumbers {
  int64_t coordinate;
  double alpha;
  int64_t basis_envelope;
  double lower, upper;
  int64_t envelope, activation;

  cpu::FlashForm form() const {
    const EnvelopeForm inner{static_cast<Envelope>(basis_envelope), lower, upper};
    return {{static_cast<Coordinate>(coordinate), alpha, inner},
            {static_cast<Envelope>(envelope), lower, upper},
            static_cast<Activation>(activation)};
  }
};

Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, sizes);
}

void check_like(const Tensor& tensor, const Tensor& like, std::initializer_list<int64_t> sizes) {
  bool fits = tensor.dim() == static_cast<int64_t>(sizes.size()) && tensor.scalar_type() == like.scalar_type();
  int64_t d = 0;
  for (const int64_t size : sizes) fits = fits && tensor.size(d++) == size;
  check(fits,
        "flash_cfconv: expected tensors of one dtype and of matching sizes, got others. To fix it, call it through "
        "`flashmd.ops.flash_cfconv`.");
}

// The arguments that value and derivatives share, checked and contiguous, with scratch for the kernels.
class FlashTensors {
public:
  FlashTensors(const Tensor& features, const Tensor& distance, const WeightTensors& weights, const EdgeIndex& index,
               const FormNumbers& numbers)
      : features_(dense(features)), distance_(dense(distance)), index_(index), form_(numbers.form()) {
    for (size_t i = 0; i < weights.size(); ++i) weights_[i] = dense(weights[i]);
    const Graph graph = make_graph(index, features);
    sizes_ = {graph.n_atoms, graph.n_edges, features.size(1), weights[0].numel()};
    check_like(features, features, {graph.n_atoms, sizes_.n_filters});
    check_like(distance, features, {graph.n_edges});
    check_weights(weights, false);
    if (uses_cuda(features)) return;
    scratch_ = empty(features, {cpu::flash_scratch(sizes_)});
    active_ = torch::stable::empty_like(index.receiver);
  }

  // Tensors shaped like the weights; some may be empty where `parts` is true.
  void check_weights(const WeightTensors& weights, bool parts) const {
    const int64_t f = sizes_.n_filters, k = sizes_.n_basis;
    const std::initializer_list<int64_t> shapes[] = {{k}, {k}, {f, k}, {f}, {f, f}};
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!parts || weights[i].numel() > 0) check_like(weights[i], features_, shapes[i]);
    }
  }

  template <typename T>
  cpu::FlashInput<T> input() const {
    return {sizes_,
            index_data(index_.receiver),
            index_data(index_.sender),
            data<T>(distance_),
            pointers<T>(weights_),
            form_,
            mutable_data<T>(scratch_),
            static_cast<int64_t*>(active_.mutable_data_ptr())};
  }

  template <typename T>
  static cpu::FlashWeights<T> pointers(const WeightTensors& weights) {
    const auto at = [&](size_t i) { return weights[i].numel() > 0 ? data<T>(weights[i]) : nullptr; };
    return {at(0), at(1), at(2), at(3), at(4)};
  }

  const Tensor& features() const { return features_; }
  const Tensor& distance() const { return distance_; }
  const WeightTensors& weights() const { return weights_; }
  const cpu::FlashSizes& sizes() const { return sizes_; }
  const cpu::FlashForm& form() const { return form_; }
  Graph graph() const { return make_graph(index_, features_); }

private:
  Tensor features_, distance_;
  WeightTensors weights_;
  EdgeIndex index_;
  cpu::FlashForm form_;
  cpu::FlashSizes sizes_;
  Tensor scratch_, active_;
};

// Gradients of features, distances and weights; empty where they are not wanted.
class GradientTensors {
public:
  GradientTensors(const FlashTensors& tensors, bool features, bool distance, bool basis, bool weights) {
    const Tensor& like = tensors.features();
    features_ = features ? torch::stable::empty_like(like) : empty(like, {0});
    distance_ = distance ? torch::stable::empty_like(tensors.distance()) : empty(like, {0});
    for (size_t i = 0; i < weights_.size(); ++i) {
      const bool wanted = i < 2 ? basis : weights;
      weights_[i] = wanted ? torch::stable::empty_like(tensors.weights()[i]) : empty(like, {0});
    }
    wanted_ = {features, distance, basis, weights};
  }

  template <typename T>
  cpu::FlashGradients<T> pointers() const {
    const auto at = [](const Tensor& tensor, bool wanted) { return wanted ? mutable_data<T>(tensor) : nullptr; };
    return {at(features_, wanted_[0]),   at(distance_, wanted_[1]),   at(weights_[0], wanted_[2]),
            at(weights_[1], wanted_[2]), at(weights_[2], wanted_[3]), at(weights_[3], wanted_[3]),
            at(weights_[4], wanted_[3])};
  }

  void clear_features() const {
    Tensor features = features_;
    torch::stable::zero_(features);
  }

  using All = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
  All all() const { return {features_, distance_, weights_[0], weights_[1], weights_[2], weights_[3], weights_[4]}; }

private:
  Tensor features_, distance_;
  WeightTensors weights_;
  std::array<bool, 4> wanted_;
};

// The filters of a bounded number of pairs at a time, on the GPU.
class CudaFlash {
public:
  explicit CudaFlash(const FlashTensors& tensors)
      : tensors_(tensors),
        in_(transposed(tensors.weights()[2])),
        out_(transposed(tensors.weights()[4])),
        filters_(empty(tensors.features(), {n_at_once(), tensors.sizes().n_filters})) {}

  template <typename T>
  cuda::FlashFilters<T> problem() const {
    const cpu::FlashForm& form = tensors_.form();
    const WeightTensors& weights = tensors_.weights();
    return {
        tensors_.graph(),           data<T>(tensors_.distance()), form.basis,   form.envelope,       form.activation,
        data<T>(weights[0]),        data<T>(weights[1]),          data<T>(in_), data<T>(weights[3]), data<T>(out_),
        tensors_.sizes().n_filters, tensors_.sizes().n_basis};
  }

  // out += messages of `from`; with `slopes`, those of the pairs for the gradient `from` as well, and no messages
  // where `out` is null.
  template <typename T>
  void run(const T* from, const T* features, T* out, T* slopes, cuda::Stream stream) const {
    const cuda::FlashFilters<T> problem = this->problem<T>();
    T* filters = out ? mutable_data<T>(filters_) : nullptr;
    for (int64_t begin = 0; begin < tensors_.sizes().n_pairs; begin += cuda::kFlashPairs) {
      const int64_t end = std::min(begin + cuda::kFlashPairs, tensors_.sizes().n_pairs);
      if (slopes) {
        cuda::flash_slopes(problem, from, features, begin, end, filters, slopes, stream);
      } else {
        cuda::flash_filters(problem, begin, end, filters, stream);
      }
      if (out) cuda::flash_messages(problem.graph, filters, from, begin, end, problem.n_filters, out, stream);
    }
  }

private:
  static Tensor transposed(const Tensor& matrix) {
    return torch::stable::contiguous(torch::stable::transpose(matrix, 0, 1));
  }
  int64_t n_at_once() const { return std::min(cuda::kFlashPairs, tensors_.sizes().n_pairs); }

  const FlashTensors& tensors_;
  Tensor in_, out_, filters_;
};

#define FLASHMD_TENSORS                                                                              \
  Tensor features, Tensor distance, Tensor centres, Tensor widths, Tensor weight_in, Tensor bias_in, \
      Tensor weight_out, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose, Tensor col_ptr
#define FLASHMD_NUMBERS                                                                                   \
  int64_t coordinate, double alpha, int64_t basis_envelope, double lower, double upper, int64_t envelope, \
      int64_t activation, int64_t instruction_set
#define FLASHMD_GATHERED                                                  \
  features, distance, {centres, widths, weight_in, bias_in, weight_out},  \
      {receiver, sender, row_ptr, transpose, col_ptr}, {                  \
    coordinate, alpha, basis_envelope, lower, upper, envelope, activation \
  }

Tensor flash_cfconv(FLASHMD_TENSORS, FLASHMD_NUMBERS) {
  const FlashTensors tensors(FLASHMD_GATHERED);
  Tensor out = torch::stable::empty_like(tensors.features());
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    if (uses_cuda(features)) {
      const CudaScope scope(features);
      torch::stable::zero_(out);
      const T* x = data<T>(tensors.features());
      return CudaFlash(tensors).run<T>(x, x, mutable_data<T>(out), nullptr, scope.stream);
    }
    FLASHMD_DISPATCH(choose_instruction_set(instruction_set), flash_cfconv, tensors.input<T>(),
                     data<T>(tensors.features()), mutable_data<T>(out));
  });
  return out;
}

GradientTensors::All flash_cfconv_backward(Tensor grad, FLASHMD_TENSORS, bool by_features, bool by_distance,
                                           bool by_basis, bool by_weights, FLASHMD_NUMBERS) {
  const FlashTensors tensors(FLASHMD_GATHERED);
  check_like(grad, features, {tensors.sizes().n_atoms, tensors.sizes().n_filters});
  const Tensor g = dense(grad);
  const GradientTensors gradients(tensors, by_features, by_distance, by_basis, by_weights);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    if (uses_cuda(features)) {
      check(!by_basis && !by_weights,
            "flash_cfconv_backward: expected to be asked for features and distances on a GPU, got weights. To fix it, "
            "use `flashmd.ops.flash_cfconv`.");
      const CudaScope scope(features);
      const cpu::FlashGradients<T> to = gradients.pointers<T>();
      gradients.clear_features();
      return CudaFlash(tensors).run<T>(data<T>(g), data<T>(tensors.features()), to.features, to.distance, scope.stream);
    }
    FLASHMD_DISPATCH(choose_instruction_set(instruction_set), flash_cfconv_backward, tensors.input<T>(), data<T>(g),
                     data<T>(tensors.features()), gradients.pointers<T>());
  });
  return gradients.all();
}

#ifndef FLASHMD_EMULATED
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> flash_cfconv_double_backward(
    Tensor along_features, Tensor along_distance, Tensor along_centres, Tensor along_widths, Tensor along_weight_in,
    Tensor along_bias_in, Tensor along_weight_out, Tensor grad, FLASHMD_TENSORS, bool by_distance, bool by_basis,
    bool by_weights, FLASHMD_NUMBERS) {
  const FlashTensors tensors(FLASHMD_GATHERED);
  const cpu::FlashSizes& sizes = tensors.sizes();
  check_like(grad, features, {sizes.n_atoms, sizes.n_filters});
  const auto or_zeros = [](const Tensor& tensor, const Tensor& like) {
    return tensor.numel() > 0 ? dense(tensor) : torch::stable::new_zeros(like, {like.numel()});
  };
  const Tensor g = dense(grad), v = or_zeros(along_features, features), d = or_zeros(along_distance, distance);
  check(
      v.numel() == features.numel() && d.numel() == distance.numel(),
      "flash_cfconv: expected a direction of the sizes of features and distances, got another. To fix it, match them.");
  WeightTensors turn{along_centres, along_widths, along_weight_in, along_bias_in, along_weight_out};
  tensors.check_weights(turn, true);
  for (Tensor& part : turn) part = dense(part);
  const GradientTensors gradients(tensors, true, by_distance, by_basis, by_weights);
  const Tensor by_grad = torch::stable::empty_like(tensors.features());
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    const cpu::FlashDirection<T> direction{data<T>(v), data<T>(d), FlashTensors::pointers<T>(turn)};
    FLASHMD_DISPATCH(choose_instruction_set(instruction_set), flash_cfconv_double_backward, tensors.input<T>(),
                     direction, data<T>(g), data<T>(tensors.features()), mutable_data<T>(by_grad),
                     gradients.pointers<T>());
  });
  return std::tuple_cat(std::make_tuple(by_grad), gradients.all());
}
#endif

}  // namespace
}  // namespace flashmd

#define FLASHMD_FLASH                                                                                   \
  "Tensor features, Tensor distance, Tensor centres, Tensor widths, Tensor weight_in, Tensor bias_in, " \
  "Tensor weight_out, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose, Tensor col_ptr"
#define FLASHMD_FORM                                                                                          \
  "int coordinate, float alpha, int basis_envelope, float lower, float upper, int envelope, int activation, " \
  "int instruction_set=-1"

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def("flash_cfconv(" FLASHMD_FLASH ", " FLASHMD_FORM ") -> Tensor");
  m.def("flash_cfconv_backward(Tensor grad, " FLASHMD_FLASH
        ", bool by_features, bool by_distance, bool by_basis, bool by_weights, " FLASHMD_FORM
        ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "flash_cfconv_double_backward(Tensor along_features, Tensor along_distance, Tensor along_centres, "
      "Tensor along_widths, Tensor along_weight_in, Tensor along_bias_in, Tensor along_weight_out, Tensor "
      "grad, " FLASHMD_FLASH ", bool by_distance, bool by_basis, bool by_weights, " FLASHMD_FORM
      ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

#ifndef FLASHMD_EMULATED
STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  m.impl("flash_cfconv", TORCH_BOX(&flashmd::flash_cfconv));
  m.impl("flash_cfconv_backward", TORCH_BOX(&flashmd::flash_cfconv_backward));
  m.impl("flash_cfconv_double_backward", TORCH_BOX(&flashmd::flash_cfconv_double_backward));
}
#endif
STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  m.impl("flash_cfconv", TORCH_BOX(&flashmd::flash_cfconv));
  m.impl("flash_cfconv_backward", TORCH_BOX(&flashmd::flash_cfconv_backward));
}

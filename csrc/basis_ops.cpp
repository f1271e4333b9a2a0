// Radial basis functions and their derivatives: schemas and bindings.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "cpu/basis.h"
#include "cuda/basis.h"
#include "tensors.h"

namespace flashmd {
namespace {

using cpu::choose_instruction_set;

// What an operator gets; the names are those of the schema.
struct BasisTensors {
  Tensor distance, centres, widths;
  BasisForm form;
};

BasisTensors basis_tensors(const Tensor& distance, const Tensor& centres, const Tensor& widths, int64_t coordinate,
                           double alpha, int64_t envelope, double lower, double upper) {
  check(
      distance.dim() == 1 && centres.dim() == 1 && widths.dim() == 1 && centres.numel() == widths.numel(),
      "`distance`, `centres`, `widths`: expected vectors, the last two of one length, got others. To fix it, pass one "
      "centre and one width for each function.");
  for (const Tensor* each : {&centres, &widths}) {
    check(each->scalar_type() == distance.scalar_type() && each->is_cuda() == distance.is_cuda(),
          "`centres`, `widths`: expected dtype and device of the distances, got others. To fix it, convert them.");
  }
  const BasisForm form{static_cast<Coordinate>(coordinate), alpha, {static_cast<Envelope>(envelope), lower, upper}};
  return {dense(distance), dense(centres), dense(widths), form};
}

void check_expansion(const Tensor& grad, const BasisTensors& tensors) {
  check(grad.dim() == 2 && grad.size(0) == tensors.distance.numel() && grad.size(1) == tensors.centres.numel() &&
            grad.scalar_type() == tensors.distance.scalar_type() && grad.is_cuda() == tensors.distance.is_cuda(),
        "`grad`: expected shape (n, n_basis) like the expansion, got another. To fix it, pass a gradient of it.");
}

int64_t padded(int64_t n) {
  return (n + 15) / 16 * 16;
}

// The numbers of `vector` and zeros up to a multiple of 16; zeros alone for an empty one.
Tensor padded_copy(const Tensor& vector, int64_t n) {
  Tensor copy = torch::stable::new_zeros(vector, {padded(n)});
  Tensor front = torch::stable::narrow(copy, 0, 0, n);
  if (vector.numel() > 0) torch::stable::copy_(front, vector);
  return copy;
}

template <typename T>
cpu::BasisInput<T> cpu_input(const BasisTensors& tensors, const Tensor& centres, const Tensor& widths) {
  return {data<T>(tensors.distance), data<T>(centres), data<T>(widths), tensors.distance.numel(),
          tensors.centres.numel(),   centres.numel(),  tensors.form};
}

template <typename T>
cuda::BasisInput<T> cuda_input(const BasisTensors& tensors) {
  return {data<T>(tensors.distance), data<T>(tensors.centres), data<T>(tensors.widths),
          tensors.distance.numel(),  tensors.centres.numel(),  tensors.form};
}

Tensor radial_basis(Tensor distance, Tensor centres, Tensor widths, int64_t coordinate, double alpha, int64_t envelope,
                    double lower, double upper, int64_t instruction_set) {
  const BasisTensors tensors = basis_tensors(distance, centres, widths, coordinate, alpha, envelope, lower, upper);
  const int64_t n_rows = tensors.distance.numel(), n_basis = tensors.centres.numel();
  const Tensor out = torch::stable::new_empty(tensors.distance, {n_rows, n_basis});
  for_dtype(distance, [&](auto zero) {
    using T = decltype(zero);
    if (uses_cuda(distance)) {
      const CudaScope scope(distance);
      cuda::radial_basis(cuda_input<T>(tensors), mutable_data<T>(out), scope.stream);
    } else {
      const Tensor m = padded_copy(tensors.centres, n_basis), b = padded_copy(tensors.widths, n_basis);
      FLASHMD_DISPATCH(choose_instruction_set(instruction_set), radial_basis, cpu_input<T>(tensors, m, b),
                       mutable_data<T>(out));
    }
  });
  return out;
}

// Sums over the functions of a row and over rows, as tensors: gradients of distances, centres and widths.
class SumTensors {
public:
  SumTensors(const BasisTensors& tensors, bool parameters) : n_basis_(tensors.centres.numel()) {
    const Tensor& distance = tensors.distance;
    const bool on_cuda = uses_cuda(distance);
    const int64_t n_rows = distance.numel();
    const int64_t size = 2 * (on_cuda ? n_basis_ : padded(n_basis_)) * (parameters ? 1 : 0);
    const int64_t n_blocks = on_cuda ? cuda::basis_blocks(n_rows) : cpu::basis_blocks(n_rows);
    by_distance_ = torch::stable::new_empty(distance, {n_rows});
    by_parameters_ = torch::stable::new_empty(distance, {size});
    partial_ = torch::stable::new_empty(distance, {n_blocks, size});
  }
  template <typename Sums, typename T>
  Sums pointers() const {
    const bool parameters = by_parameters_.numel() > 0;
    return {mutable_data<T>(by_distance_), parameters ? mutable_data<T>(by_parameters_) : nullptr,
            mutable_data<T>(partial_)};
  }
  const Tensor& by_distance() const { return by_distance_; }
  // Empty where they are not wanted.
  Tensor by_centres() const { return part(0); }
  Tensor by_widths() const { return part(1); }

private:
  Tensor part(int64_t which) const {
    const int64_t size = by_parameters_.numel();
    Tensor whole = by_parameters_;
    const Tensor slice = torch::stable::narrow(whole, 0, which * (size / 2), size ? n_basis_ : 0);
    return torch::stable::clone(slice);
  }
  int64_t n_basis_;
  Tensor by_distance_, by_parameters_, partial_;
};

std::tuple<Tensor, Tensor, Tensor> radial_basis_backward(Tensor grad, Tensor distance, Tensor centres, Tensor widths,
                                                         bool parameters, int64_t coordinate, double alpha,
                                                         int64_t envelope, double lower, double upper,
                                                         int64_t instruction_set) {
  const BasisTensors tensors = basis_tensors(distance, centres, widths, coordinate, alpha, envelope, lower, upper);
  check_expansion(grad, tensors);
  const Tensor g = dense(grad);
  const SumTensors sums(tensors, parameters);
  for_dtype(distance, [&](auto zero) {
    using T = decltype(zero);
    if (uses_cuda(distance)) {
      const CudaScope scope(distance);
      cuda::radial_basis_backward(cuda_input<T>(tensors), data<T>(g), sums.pointers<cuda::BasisSums<T>, T>(),
                                  scope.stream);
    } else {
      const int64_t n_basis = centres.numel();
      const Tensor m = padded_copy(tensors.centres, n_basis), b = padded_copy(tensors.widths, n_basis);
      const auto pointers = sums.pointers<cpu::BasisSums<T>, T>();
      FLASHMD_DISPATCH(choose_instruction_set(instruction_set), radial_basis_backward, cpu_input<T>(tensors, m, b),
                       data<T>(g), pointers);
    }
  });
  return {sums.by_distance(), sums.by_centres(), sums.by_widths()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> radial_basis_double_backward(Tensor along_distance, Tensor along_centres,
                                                                        Tensor along_widths, Tensor grad,
                                                                        Tensor distance, Tensor centres, Tensor widths,
                                                                        bool parameters, int64_t coordinate,
                                                                        double alpha, int64_t envelope, double lower,
                                                                        double upper, int64_t instruction_set) {
  const BasisTensors tensors = basis_tensors(distance, centres, widths, coordinate, alpha, envelope, lower, upper);
  check_expansion(grad, tensors);
  const int64_t n_basis = centres.numel();
  check(along_distance.numel() == distance.numel() && along_centres.numel() == (parameters ? n_basis : 0) &&
            along_widths.numel() == along_centres.numel(),
        "the direction: expected the sizes of distances, centres and widths, got others. To fix it, match them.");
  const Tensor g = dense(grad), v = dense(along_distance);
  const Tensor along = torch::stable::new_empty(g, {distance.numel(), n_basis});
  const SumTensors sums(tensors, parameters);
  const Tensor v_m = padded_copy(along_centres, n_basis), v_b = padded_copy(along_widths, n_basis);
  for_dtype(distance, [&](auto zero) {
    using T = decltype(zero);
    if (uses_cuda(distance)) {
      const CudaScope scope(distance);
      const cuda::BasisDirection<T> direction{data<T>(v), data<T>(v_m), data<T>(v_b)};
      cuda::radial_basis_double_backward(cuda_input<T>(tensors), direction, data<T>(g), mutable_data<T>(along),
                                         sums.pointers<cuda::BasisSums<T>, T>(), scope.stream);
    } else {
      const Tensor m = padded_copy(tensors.centres, n_basis), b = padded_copy(tensors.widths, n_basis);
      const cpu::BasisDirection<T> direction{data<T>(v), data<T>(v_m), data<T>(v_b)};
      const auto pointers = sums.pointers<cpu::BasisSums<T>, T>();
      FLASHMD_DISPATCH(choose_instruction_set(instruction_set), radial_basis_double_backward,
                       cpu_input<T>(tensors, m, b), direction, data<T>(g), mutable_data<T>(along), pointers);
    }
  });
  return {along, sums.by_distance(), sums.by_centres(), sums.by_widths()};
}

void implement(torch::stable::detail::StableLibrary& m) {
  m.impl("radial_basis", TORCH_BOX(&radial_basis));
  m.impl("radial_basis_backward", TORCH_BOX(&radial_basis_backward));
  m.impl("radial_basis_double_backward", TORCH_BOX(&radial_basis_double_backward));
}

}  // namespace
}  // namespace flashmd

#define FLASHMD_FORM "int coordinate, float alpha, int envelope, float lower, float upper, int instruction_set=-1"
#define FLASHMD_BASIS "Tensor distance, Tensor centres, Tensor widths"

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
  m.def("radial_basis(" FLASHMD_BASIS ", " FLASHMD_FORM ") -> Tensor");
  m.def("radial_basis_backward(Tensor grad, " FLASHMD_BASIS ", bool parameters, " FLASHMD_FORM
        ") -> (Tensor, Tensor, Tensor)");
  m.def(
      "radial_basis_double_backward(Tensor along_distance, Tensor along_centres, Tensor along_widths, Tensor "
      "grad, " FLASHMD_BASIS ", bool parameters, " FLASHMD_FORM ") -> (Tensor, Tensor, Tensor, Tensor)");
}

#ifndef FLASHMD_EMULATED
STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  flashmd::implement(m);
}
#endif
STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  flashmd::implement(m);
}

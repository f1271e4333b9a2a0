// What the bindings need of tensors: checks with messages, typed pointers, dispatch by dtype, the CUDA stream.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <stdexcept>
#include <vector>

#include "cuda/launchers.h"
#include "include/graph.h"

// The library that the bindings register with, and the devices whose tensors go to the CUDA kernels. The tests run
// these kernels on the host (cuda/emulate.h), through the same bindings but under another name.
#ifdef FLASHMD_EMULATED
#define FLASHMD_LIBRARY flashmd_emulated
#define FLASHMD_CUDA_KEY CPU
#else
#define FLASHMD_LIBRARY flashmd
#define FLASHMD_CUDA_KEY CUDA
#endif

namespace flashmd {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check(bool condition, const char* message) {
  if (!condition) throw std::runtime_error(message);
}

inline const int64_t* index_data(const Tensor& tensor) {
  check(tensor.scalar_type() == ScalarType::Long && tensor.is_contiguous(),
        "index tensors: expected contiguous int64, got others. To fix it, convert them with "
        "`.to(torch.int64).contiguous()`.");
  return static_cast<const int64_t*>(tensor.const_data_ptr());
}

inline Tensor dense(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Call function(T{}) for the dtype of `tensor`.
template <typename F>
void for_dtype(const Tensor& tensor, const F& function) {
  const ScalarType dtype = tensor.scalar_type();
  if (dtype == ScalarType::Float) return function(float{});
  check(dtype == ScalarType::Double,
        "the compiled operators: expected float32 or float64 values, got another dtype. To fix it, convert them with "
        "`.to`, or pass `backend=\"reference\"`.");
  function(double{});
}

// Whether the kernels of csrc/cuda serve a tensor.
inline bool uses_cuda([[maybe_unused]] const Tensor& tensor) {
#ifdef FLASHMD_EMULATED
  return true;
#else
  return tensor.is_cuda();
#endif
}

#ifdef FLASHMD_EMULATED
struct CudaScope {
  explicit CudaScope(const Tensor&) {}
  const cuda::Stream stream = nullptr;
};
#else
// The stream to launch on; the guard makes the tensor's device the current one meanwhile.
class CudaScope {
public:
  explicit CudaScope(const Tensor& tensor)
      : stream(cuda::current_stream(tensor.get_device_index())), guard_(tensor.get_device_index()) {}
  const cuda::Stream stream;

private:
  torch::stable::accelerator::DeviceGuard guard_;
};
#endif

struct EdgeIndex {
  Tensor receiver, sender, row_ptr, transpose, col_ptr;
};

inline Graph make_graph(const EdgeIndex& index, const Tensor& values) {
  const int64_t n_edges = index.receiver.numel();
  check(index.sender.numel() == n_edges && index.transpose.numel() == n_edges && index.row_ptr.numel() > 0 &&
            index.col_ptr.numel() == index.row_ptr.numel(),
        "`edges`: expected index tensors of matching sizes, got others. To fix it, use `Edges.from_pairs`.");
  check(index.receiver.is_cuda() == values.is_cuda(),
        "`edges`: expected the device of the values, got another. To fix it, move both to one device.");
  return {index_data(index.receiver),
          index_data(index.sender),
          index_data(index.row_ptr),
          index_data(index.transpose),
          index_data(index.col_ptr),
          index.row_ptr.numel() - 1,
          n_edges};
}

inline void check_rows(const Tensor& tensor, int64_t n_rows, const Tensor& like) {
  check(tensor.dim() == 2 && tensor.size(0) == n_rows && tensor.size(1) == like.size(1),
        "values: expected shape (n_atoms or n_edges, n_channels), got another. To fix it, match the edges.");
  check(tensor.scalar_type() == like.scalar_type() && tensor.is_cuda() == like.is_cuda(),
        "values: expected tensors of one dtype and device, got different ones. To fix it, convert one of them.");
}

// Segments of consecutive rows. Their bounds are looked at on the CPU only, where that costs nothing.
inline void check_segments(const Tensor& ptr, int64_t n_rows) {
  check(ptr.numel() > 0, "`ptr`: expected n_segments + 1 offsets, got none. To fix it, begin it with 0.");
  const int64_t* begin = index_data(ptr);
  if (ptr.is_cuda()) return;
  const int64_t n_segments = ptr.numel() - 1;
  bool ascending = begin[0] == 0 && begin[n_segments] == n_rows;
  for (int64_t s = 0; ascending && s < n_segments; ++s) ascending = begin[s] <= begin[s + 1];
  check(ascending,
        "`ptr`: expected offsets that ascend from 0 to the number of rows, got others. To fix it, pass the `ptr` of "
        "these rows.");
}

// Elements of one row.
inline int64_t row_size(const Tensor& values) {
  int64_t n_channels = 1;
  for (int64_t d = 1; d < values.dim(); ++d) n_channels *= values.size(d);
  return n_channels;
}

// An uninitialised tensor like `values` with another number of rows.
inline Tensor with_rows(const Tensor& values, int64_t n_rows) {
  std::vector<int64_t> sizes(values.sizes().begin(), values.sizes().end());
  sizes[0] = n_rows;
  return torch::stable::new_empty(values, sizes);
}

}  // namespace flashmd

// Schemas of the operators and their bindings through LibTorch's stable ABI: one binary for torch 2.11 and later.
//
// The bindings check devices, dtypes and sizes, make inputs contiguous, allocate results and call the kernels of the
// tensors' device. Meta kernels and derivatives are registered in Python beside the wrappers.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <tuple>
#include <type_traits>

#include "cpu/kernels.h"
#include "cuda/launchers.h"

namespace {

using flashmd::Graph;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check(bool condition, const char* message) {
  if (!condition) throw std::runtime_error(message);
}

const int64_t* index_data(const Tensor& tensor) {
  check(tensor.scalar_type() == ScalarType::Long,
        "index tensors: expected int64, got another dtype. To fix it, convert them with `.to(torch.int64)`.");
  check(tensor.is_contiguous(),
        "index tensors: expected contiguous ones, got strided ones. To fix it, call `.contiguous()`.");
  return static_cast<const int64_t*>(tensor.const_data_ptr());
}

Tensor dense(const Tensor& tensor) {
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

// The stream to launch on; the guard makes the tensor's device the current one meanwhile.
class CudaScope {
public:
  explicit CudaScope(const Tensor& tensor)
      : stream(flashmd::cuda::current_stream(tensor.get_device_index())), guard_(tensor.get_device_index()) {}
  const flashmd::cuda::Stream stream;

private:
  torch::stable::accelerator::DeviceGuard guard_;
};

struct Indices {
  Tensor receiver, sender, row_ptr, transpose, col_ptr;
};

Graph make_graph(const Indices& index, const Tensor& values) {
  const int64_t n_edges = index.receiver.numel();
  check(
      index.sender.numel() == n_edges && index.transpose.numel() == n_edges && index.row_ptr.numel() > 0 &&
          index.col_ptr.numel() == index.row_ptr.numel(),
      "`edges`: expected index tensors of matching sizes, got others. To fix it, build them with `Edges.from_pairs`.");
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

void check_rows(const Tensor& tensor, int64_t n_rows, const Tensor& like) {
  check(tensor.dim() == 2 && tensor.size(0) == n_rows,
        "values: expected shape (n_atoms or n_edges, n_channels), got another. To fix it, match the edges.");
  check(tensor.size(1) == like.size(1) && tensor.scalar_type() == like.scalar_type(),
        "values: expected two tensors of equal dtype and n_channels, got different ones. To fix it, convert one of "
        "them.");
}

Tensor convolve(Tensor features, Tensor filters, const Indices& index, bool transposed) {
  const Graph graph = make_graph(index, features);
  check_rows(features, graph.n_atoms, features);
  check_rows(filters, graph.n_edges, features);
  features = dense(features);
  filters = dense(filters);
  const int64_t n_channels = features.size(1);
  Tensor out = torch::stable::new_empty(features, {graph.n_atoms, n_channels});
  const flashmd::Rows rows = transposed ? by_sender(graph) : by_receiver(graph);
  for_dtype(features, [&](auto zero) {
    using T = decltype(zero);
    if (features.is_cuda()) {
      const CudaScope scope(features);
      flashmd::cuda::cfconv(data<T>(features), data<T>(filters), rows, graph.n_atoms, n_channels, mutable_data<T>(out),
                            scope.stream);
    } else {
      flashmd::cpu::cfconv(data<T>(features), data<T>(filters), rows, graph, n_channels, mutable_data<T>(out));
    }
  });
  return out;
}

Tensor cfconv(Tensor features, Tensor filters, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose,
              Tensor col_ptr) {
  return convolve(features, filters, {receiver, sender, row_ptr, transpose, col_ptr}, false);
}

Tensor cfconv_transposed(Tensor features, Tensor filters, Tensor receiver, Tensor sender, Tensor row_ptr,
                         Tensor transpose, Tensor col_ptr) {
  return convolve(features, filters, {receiver, sender, row_ptr, transpose, col_ptr}, true);
}

Tensor edge_product(Tensor left, Tensor right, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose,
                    Tensor col_ptr) {
  const Graph graph = make_graph({receiver, sender, row_ptr, transpose, col_ptr}, left);
  check_rows(left, graph.n_atoms, left);
  check_rows(right, graph.n_atoms, left);
  left = dense(left);
  right = dense(right);
  const int64_t n_channels = left.size(1);
  Tensor out = torch::stable::new_empty(left, {graph.n_edges, n_channels});
  for_dtype(left, [&](auto zero) {
    using T = decltype(zero);
    if (left.is_cuda()) {
      const CudaScope scope(left);
      flashmd::cuda::edge_product(data<T>(left), data<T>(right), graph, n_channels, mutable_data<T>(out), scope.stream);
    } else {
      flashmd::cpu::edge_product(data<T>(left), data<T>(right), graph, n_channels, mutable_data<T>(out));
    }
  });
  return out;
}

Tensor edge_difference(Tensor values, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose,
                       Tensor col_ptr) {
  const Graph graph = make_graph({receiver, sender, row_ptr, transpose, col_ptr}, values);
  check_rows(values, graph.n_atoms, values);
  values = dense(values);
  const int64_t n_channels = values.size(1);
  Tensor out = torch::stable::new_empty(values, {graph.n_edges, n_channels});
  for_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    if (values.is_cuda()) {
      const CudaScope scope(values);
      flashmd::cuda::edge_difference(data<T>(values), graph, n_channels, mutable_data<T>(out), scope.stream);
    } else {
      flashmd::cpu::edge_difference(data<T>(values), graph, n_channels, mutable_data<T>(out));
    }
  });
  return out;
}

Tensor edge_divergence(Tensor values, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose,
                       Tensor col_ptr) {
  const Graph graph = make_graph({receiver, sender, row_ptr, transpose, col_ptr}, values);
  check_rows(values, graph.n_edges, values);
  values = dense(values);
  const int64_t n_channels = values.size(1);
  Tensor out = torch::stable::new_empty(values, {graph.n_atoms, n_channels});
  for_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    if (values.is_cuda()) {
      const CudaScope scope(values);
      flashmd::cuda::edge_divergence(data<T>(values), graph, n_channels, mutable_data<T>(out), scope.stream);
    } else {
      flashmd::cpu::edge_divergence(data<T>(values), graph, n_channels, mutable_data<T>(out));
    }
  });
  return out;
}

// Sizes of `values` with another number of rows.
std::vector<int64_t> with_rows(const Tensor& values, int64_t n_rows) {
  std::vector<int64_t> sizes(values.sizes().begin(), values.sizes().end());
  sizes[0] = n_rows;
  return sizes;
}

int64_t row_size(const Tensor& values) {
  int64_t n_channels = 1;
  for (int64_t d = 1; d < values.dim(); ++d) n_channels *= values.size(d);
  return n_channels;
}

Tensor segment_sum(Tensor values, Tensor ptr) {
  const int64_t n_segments = ptr.numel() - 1, n_channels = row_size(values);
  values = dense(values);
  Tensor out = torch::stable::new_empty(values, with_rows(values, n_segments));
  for_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    if (values.is_cuda()) {
      const CudaScope scope(values);
      flashmd::cuda::segment_sum(data<T>(values), index_data(ptr), n_segments, n_channels, mutable_data<T>(out),
                                 scope.stream);
    } else {
      check(
          index_data(ptr)[n_segments] == values.size(0),
          "`ptr`: expected to end at the number of rows, got another number. To fix it, pass the `ptr` of these rows.");
      flashmd::cpu::segment_sum(data<T>(values), index_data(ptr), n_segments, n_channels, mutable_data<T>(out));
    }
  });
  return out;
}

Tensor segment_expand(Tensor values, Tensor ptr, int64_t n_rows) {
  const int64_t n_segments = ptr.numel() - 1, n_channels = row_size(values);
  check(values.size(0) == n_segments,
        "`values`: expected one row for each segment, got another number. To fix it, pass the `ptr` of these rows.");
  values = dense(values);
  Tensor out = torch::stable::new_empty(values, with_rows(values, n_rows));
  for_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    if (values.is_cuda()) {
      const CudaScope scope(values);
      flashmd::cuda::segment_expand(data<T>(values), index_data(ptr), n_segments, n_channels, mutable_data<T>(out),
                                    scope.stream);
    } else {
      check(
          index_data(ptr)[n_segments] == n_rows,
          "`ptr`: expected to end at the number of rows, got another number. To fix it, pass the `ptr` of these rows.");
      flashmd::cpu::segment_expand(data<T>(values), index_data(ptr), n_segments, n_channels, mutable_data<T>(out));
    }
  });
  return out;
}

template <bool kNormal>
Tensor philox(int64_t seed, Tensor stream, int64_t counter, int64_t n_columns, bool float64) {
  stream = dense(stream);
  const ScalarType dtype = float64 ? ScalarType::Double : ScalarType::Float;
  Tensor out = torch::stable::new_empty(stream, {stream.numel(), n_columns}, dtype);
  const flashmd::RandomRequest request{static_cast<uint64_t>(seed), static_cast<uint64_t>(counter), index_data(stream),
                                       stream.numel(), n_columns};
  for_dtype(out, [&](auto zero) {
    using T = decltype(zero);
    if (stream.is_cuda()) {
      const CudaScope scope(stream);
      (kNormal ? flashmd::cuda::philox_normal<T> : flashmd::cuda::philox_uniform<T>)(request, mutable_data<T>(out),
                                                                                     scope.stream);
    } else {
      (kNormal ? flashmd::cpu::philox_normal<T> : flashmd::cpu::philox_uniform<T>)(request, mutable_data<T>(out));
    }
  });
  return out;
}

using NeighborTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Empty results of a search; `n_edges` is zero where it failed or would overflow.
std::pair<NeighborTensors, flashmd::NeighborOutput> new_lists(const Tensor& ptr, int64_t n_atoms, int64_t n_edges) {
  const auto empty = [&](auto... sizes) { return torch::stable::new_empty(ptr, {sizes...}); };
  NeighborTensors lists{empty(n_edges),     empty(n_edges), empty(n_edges, int64_t{3}),
                        empty(n_atoms + 1), empty(n_edges), empty(int64_t{3})};
  const flashmd::NeighborOutput out{
      mutable_data<int64_t>(std::get<0>(lists)), mutable_data<int64_t>(std::get<1>(lists)),
      mutable_data<int64_t>(std::get<2>(lists)), mutable_data<int64_t>(std::get<3>(lists)),
      mutable_data<int64_t>(std::get<4>(lists))};
  return {lists, out};
}

bool usable(const flashmd::NeighborStatus& status, int64_t capacity) {
  return status.bad_atom < 0 && status.bad_system < 0 && (capacity < 0 || status.found <= capacity);
}

NeighborTensors neighbor_list(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, double cutoff, int64_t capacity) {
  check(cell.scalar_type() == positions.scalar_type() && pbc.scalar_type() == ScalarType::Bool,
        "`system`: expected a cell of the dtype of the positions and bool `pbc`, got others. To fix it, use "
        "`System.single`.");
  positions = dense(positions);
  cell = dense(cell);
  pbc = dense(pbc);
  const int64_t n_atoms = positions.size(0), n_systems = ptr.numel() - 1;
  NeighborTensors lists;
  for_dtype(positions, [&](auto zero) {
    using T = decltype(zero);
    const flashmd::Batch<T> batch{data<T>(positions), index_data(ptr), data<T>(cell), data<bool>(pbc), n_atoms,
                                  n_systems,          cutoff};
    flashmd::NeighborStatus status;
    flashmd::NeighborOutput out;
    if (positions.is_cuda()) {
      const CudaScope scope(positions);
      const Tensor row_ptr = torch::stable::new_empty(ptr, {n_atoms + 1}), report = torch::stable::new_empty(ptr, {3});
      flashmd::cuda::neighbor_count(batch, mutable_data<int64_t>(row_ptr), mutable_data<int64_t>(report), scope.stream);
      status = flashmd::cuda::read_status(data<int64_t>(report), scope.stream);
      std::tie(lists, out) = new_lists(ptr, n_atoms, usable(status, capacity) ? status.found : 0);
      out.row_ptr = mutable_data<int64_t>(row_ptr);
      if (usable(status, capacity)) flashmd::cuda::neighbor_fill(batch, out, scope.stream);
      std::get<3>(lists) = row_ptr;
      std::get<5>(lists) = report;
    } else {
      const flashmd::cpu::NeighborSearch search(batch);
      status = search.status();
      std::tie(lists, out) = new_lists(ptr, n_atoms, usable(status, capacity) ? status.found : 0);
      if (usable(status, capacity)) search.write(out);
      int64_t* report = mutable_data<int64_t>(std::get<5>(lists));
      report[0] = status.found;
      report[1] = status.bad_atom;
      report[2] = status.bad_system;
    }
  });
  return lists;
}

void implement(torch::stable::detail::StableLibrary& m) {
  m.impl("cfconv", TORCH_BOX(&cfconv));
  m.impl("cfconv_transposed", TORCH_BOX(&cfconv_transposed));
  m.impl("edge_product", TORCH_BOX(&edge_product));
  m.impl("edge_difference", TORCH_BOX(&edge_difference));
  m.impl("edge_divergence", TORCH_BOX(&edge_divergence));
  m.impl("segment_sum", TORCH_BOX(&segment_sum));
  m.impl("segment_expand", TORCH_BOX(&segment_expand));
  m.impl("philox_normal", TORCH_BOX(&philox<true>));
  m.impl("philox_uniform", TORCH_BOX(&philox<false>));
  m.impl("neighbor_list", TORCH_BOX(&neighbor_list));
}

}  // namespace

#define FLASHMD_EDGES "Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose, Tensor col_ptr"

STABLE_TORCH_LIBRARY(flashmd, m) {
  m.def("cfconv(Tensor features, Tensor filters, " FLASHMD_EDGES ") -> Tensor");
  m.def("cfconv_transposed(Tensor features, Tensor filters, " FLASHMD_EDGES ") -> Tensor");
  m.def("edge_product(Tensor left, Tensor right, " FLASHMD_EDGES ") -> Tensor");
  m.def("edge_difference(Tensor values, " FLASHMD_EDGES ") -> Tensor");
  m.def("edge_divergence(Tensor values, " FLASHMD_EDGES ") -> Tensor");
  m.def("segment_sum(Tensor values, Tensor ptr) -> Tensor");
  m.def("segment_expand(Tensor values, Tensor ptr, int n_rows) -> Tensor");
  m.def("philox_normal(int seed, Tensor stream, int counter, int n_columns, bool float64) -> Tensor");
  m.def("philox_uniform(int seed, Tensor stream, int counter, int n_columns, bool float64) -> Tensor");
  m.def(
      "neighbor_list(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, float cutoff, int capacity) -> "
      "(Tensor receiver, Tensor sender, Tensor shift, Tensor row_ptr, Tensor transpose, Tensor status)");
}

STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  implement(m);
}
STABLE_TORCH_LIBRARY_IMPL(flashmd, CUDA, m) {
  implement(m);
}

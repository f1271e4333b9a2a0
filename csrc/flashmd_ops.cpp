// Schemas of the operators and their bindings through LibTorch's stable ABI: one binary for torch 2.11 and later.
//
// The bindings check devices, dtypes and sizes, make inputs contiguous, allocate results and call the kernels of the
// tensors' device. Meta kernels and derivatives are registered in Python beside the wrappers.

#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cpu/kernels.h"
#include "tensors.h"

namespace flashmd {
namespace {

// Allocate [n_rows, n_channels] like `values` and fill it by on_cpu(T{}, n_channels, out) or on_cuda(.., stream).
template <typename Cpu, typename Cuda>
Tensor fill_rows(const Tensor& values, int64_t n_rows, const Cpu& on_cpu, const Cuda& on_cuda) {
  const Tensor result = with_rows(values, n_rows);
  const int64_t n_channels = row_size(values);
  for_dtype(values, [&](auto zero) {
    auto* out = mutable_data<decltype(zero)>(result);
    if (uses_cuda(values)) {
      const CudaScope scope(values);
      on_cuda(zero, n_channels, out, scope.stream);
    } else {
      on_cpu(zero, n_channels, out);
    }
  });
  return result;
}

Tensor convolve(const Tensor& features, const Tensor& filters, const EdgeIndex& index, bool transposed) {
  const Graph graph = make_graph(index, features);
  check_rows(features, graph.n_atoms, features);
  check_rows(filters, graph.n_edges, features);
  const Tensor x = dense(features), w = dense(filters);
  const Rows rows = transposed ? by_sender(graph) : by_receiver(graph);
  return fill_rows(
      x, graph.n_atoms,
      [&]<typename T>(T, int64_t n_channels, T* out) {
        cpu::cfconv(data<T>(x), data<T>(w), rows, graph, n_channels, out);
      },
      [&]<typename T>(T, int64_t n_channels, T* out, cuda::Stream stream) {
        cuda::cfconv(data<T>(x), data<T>(w), rows, graph.n_atoms, n_channels, out, stream);
      });
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
  const Tensor l = dense(left), r = dense(right);
  return fill_rows(
      l, graph.n_edges,
      [&]<typename T>(T, int64_t n_channels, T* out) {
        cpu::edge_product(data<T>(l), data<T>(r), graph, n_channels, out);
      },
      [&]<typename T>(T, int64_t n_channels, T* out, cuda::Stream stream) {
        cuda::edge_product(data<T>(l), data<T>(r), graph, n_channels, out, stream);
      });
}

Tensor edge_difference(Tensor values, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose,
                       Tensor col_ptr) {
  const Graph graph = make_graph({receiver, sender, row_ptr, transpose, col_ptr}, values);
  check_rows(values, graph.n_atoms, values);
  const Tensor v = dense(values);
  return fill_rows(
      v, graph.n_edges,
      [&]<typename T>(T, int64_t n_channels, T* out) { cpu::edge_difference(data<T>(v), graph, n_channels, out); },
      [&]<typename T>(T, int64_t n_channels, T* out, cuda::Stream stream) {
        cuda::edge_difference(data<T>(v), graph, n_channels, out, stream);
      });
}

Tensor edge_divergence(Tensor values, Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose,
                       Tensor col_ptr) {
  const Graph graph = make_graph({receiver, sender, row_ptr, transpose, col_ptr}, values);
  check_rows(values, graph.n_edges, values);
  const Tensor v = dense(values);
  return fill_rows(
      v, graph.n_atoms,
      [&]<typename T>(T, int64_t n_channels, T* out) { cpu::edge_divergence(data<T>(v), graph, n_channels, out); },
      [&]<typename T>(T, int64_t n_channels, T* out, cuda::Stream stream) {
        cuda::edge_divergence(data<T>(v), graph, n_channels, out, stream);
      });
}

Tensor segment_sum(Tensor values, Tensor ptr) {
  check_segments(ptr, values.size(0));
  const Tensor v = dense(values);
  const int64_t n_segments = ptr.numel() - 1;
  return fill_rows(
      v, n_segments,
      [&]<typename T>(T, int64_t n_channels, T* out) {
        cpu::segment_sum(data<T>(v), index_data(ptr), n_segments, n_channels, out);
      },
      [&]<typename T>(T, int64_t n_channels, T* out, cuda::Stream stream) {
        cuda::segment_sum(data<T>(v), index_data(ptr), n_segments, n_channels, out, stream);
      });
}

Tensor segment_expand(Tensor values, Tensor ptr, int64_t n_rows) {
  check_segments(ptr, n_rows);
  const Tensor v = dense(values);
  const int64_t n_segments = ptr.numel() - 1;
  check(v.size(0) == n_segments,
        "`values`: expected one row for each segment, got another number. To fix it, pass the `ptr` of these rows.");
  return fill_rows(
      v, n_rows,
      [&]<typename T>(T, int64_t n_channels, T* out) {
        cpu::segment_expand(data<T>(v), index_data(ptr), n_segments, n_channels, out);
      },
      [&]<typename T>(T, int64_t n_channels, T* out, cuda::Stream stream) {
        cuda::segment_expand(data<T>(v), index_data(ptr), n_segments, n_channels, out, stream);
      });
}

template <bool kNormal>
Tensor philox(int64_t seed, Tensor stream, int64_t counter, int64_t n_columns, bool float64) {
  stream = dense(stream);
  const ScalarType dtype = float64 ? ScalarType::Double : ScalarType::Float;
  Tensor out = torch::stable::new_empty(stream, {stream.numel(), n_columns}, dtype);
  const RandomRequest request{static_cast<uint64_t>(seed), static_cast<uint64_t>(counter), index_data(stream),
                              stream.numel(), n_columns};
  for_dtype(out, [&](auto zero) {
    using T = decltype(zero);
    if (uses_cuda(stream)) {
      const CudaScope scope(stream);
      (kNormal ? cuda::philox_normal<T> : cuda::philox_uniform<T>)(request, mutable_data<T>(out), scope.stream);
    } else {
      (kNormal ? cpu::philox_normal<T> : cpu::philox_uniform<T>)(request, mutable_data<T>(out));
    }
  });
  return out;
}

struct NeighborTensors {
  Tensor receiver, sender, shift, row_ptr, transpose, col_ptr, status;

  NeighborOutput output() const {
    return {mutable_data<int64_t>(receiver), mutable_data<int64_t>(sender),    mutable_data<int64_t>(shift),
            mutable_data<int64_t>(row_ptr),  mutable_data<int64_t>(transpose), mutable_data<int64_t>(col_ptr)};
  }
};

NeighborTensors new_lists(const Tensor& ptr, const Tensor& row_ptr, const Tensor& status, int64_t n_edges) {
  const auto one_each = [&] { return torch::stable::new_empty(ptr, {n_edges}); };
  const Tensor shift = torch::stable::new_empty(ptr, {n_edges, 3});
  return {one_each(), one_each(), shift, row_ptr, one_each(), row_ptr, status};
}

// Whether there is a list to write: otherwise it stays empty and the caller reads the reason from the status.
bool has_list(const NeighborStatus& status, int64_t capacity) {
  return status.bad_atom < 0 && status.bad_system < 0 && (capacity < 0 || status.found <= capacity);
}

template <typename T>
NeighborTensors search_on_cpu(const Batch<T>& batch, const Tensor& ptr, int64_t capacity, bool half) {
  const cpu::NeighborSearch search(batch, half);
  const NeighborStatus& found = search.status();
  const Tensor row_ptr = torch::stable::new_empty(ptr, {batch.n_atoms + 1}),
               status = torch::stable::new_empty(ptr, {3});
  NeighborTensors lists = new_lists(ptr, row_ptr, status, has_list(found, capacity) ? found.found : 0);
  if (half) lists.col_ptr = torch::stable::new_empty(row_ptr, {batch.n_atoms + 1});
  if (has_list(found, capacity)) search.write(lists.output());
  int64_t* report = mutable_data<int64_t>(status);
  report[0] = found.found;
  report[1] = found.bad_atom;
  report[2] = found.bad_system;
  return lists;
}

template <typename T>
NeighborTensors search_on_cuda(const Batch<T>& batch, const Tensor& ptr, int64_t capacity) {
  const CudaScope scope(ptr);
  const Tensor row_ptr = torch::stable::new_empty(ptr, {batch.n_atoms + 1}),
               status = torch::stable::new_empty(ptr, {3});
  cuda::neighbor_count(batch, mutable_data<int64_t>(row_ptr), mutable_data<int64_t>(status), scope.stream);
  const NeighborStatus found = cuda::read_status(data<int64_t>(status), scope.stream);
  const NeighborTensors lists = new_lists(ptr, row_ptr, status, has_list(found, capacity) ? found.found : 0);
  if (has_list(found, capacity)) cuda::neighbor_fill(batch, lists.output(), scope.stream);
  return lists;
}

// Check the arguments of a search and call search(batch).
template <typename F>
NeighborTensors with_batch(const Tensor& positions, const Tensor& ptr, const Tensor& cell, const Tensor& pbc,
                           double cutoff, const F& search) {
  check(cell.scalar_type() == positions.scalar_type() && pbc.scalar_type() == ScalarType::Bool,
        "`system`: expected a cell of the dtype of the positions and bool `pbc`, got others. To fix it, use "
        "`System.single`.");
  check_segments(ptr, positions.size(0));
  const Tensor x = dense(positions), vectors = dense(cell), flags = dense(pbc);
  std::optional<NeighborTensors> lists;
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    lists = search(
        Batch<T>{data<T>(x), index_data(ptr), data<T>(vectors), data<bool>(flags), x.size(0), ptr.numel() - 1, cutoff});
  });
  return *lists;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> neighbor_list(Tensor positions, Tensor ptr, Tensor cell,
                                                                         Tensor pbc, double cutoff, int64_t capacity) {
  const NeighborTensors lists = with_batch(positions, ptr, cell, pbc, cutoff, [&](const auto& batch) {
    return uses_cuda(positions) ? search_on_cuda(batch, ptr, capacity) : search_on_cpu(batch, ptr, capacity, false);
  });
  return {lists.receiver, lists.sender, lists.shift, lists.row_ptr, lists.transpose, lists.status};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> half_neighbor_list(Tensor positions, Tensor ptr,
                                                                                      Tensor cell, Tensor pbc,
                                                                                      double cutoff) {
  const NeighborTensors lists = with_batch(positions, ptr, cell, pbc, cutoff,
                                           [&](const auto& batch) { return search_on_cpu(batch, ptr, -1, true); });
  return {lists.receiver, lists.sender, lists.shift, lists.row_ptr, lists.transpose, lists.col_ptr, lists.status};
}

Tensor count_moved(Tensor positions, Tensor reference, double limit) {
  const int64_t n_atoms = positions.size(0);
  check(positions.dim() == 2 && positions.size(1) == 3 && reference.dim() == 2 && reference.size(0) == n_atoms &&
            reference.size(1) == 3 && reference.scalar_type() == positions.scalar_type(),
        "`reference`: expected the shape (n_atoms, 3) and the dtype of the positions, got others. To fix it, pass "
        "earlier positions of the same atoms.");
  const Tensor x = dense(positions), old = dense(reference);
  const Tensor count = torch::stable::new_empty(x, {}, ScalarType::Long);
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    *mutable_data<int64_t>(count) = cpu::count_moved(data<T>(x), data<T>(old), n_atoms, limit);
  });
  return count;
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
}  // namespace flashmd

#define FLASHMD_EDGES "Tensor receiver, Tensor sender, Tensor row_ptr, Tensor transpose, Tensor col_ptr"

STABLE_TORCH_LIBRARY_FRAGMENT(FLASHMD_LIBRARY, m) {
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
  m.def(
      "half_neighbor_list(Tensor positions, Tensor ptr, Tensor cell, Tensor pbc, float cutoff) -> "
      "(Tensor receiver, Tensor sender, Tensor shift, Tensor row_ptr, Tensor transpose, Tensor col_ptr, Tensor "
      "status)");
  m.def("count_moved(Tensor positions, Tensor reference, float limit) -> Tensor");
}

#ifndef FLASHMD_EMULATED
STABLE_TORCH_LIBRARY_IMPL(flashmd, CPU, m) {
  flashmd::implement(m);
  m.impl("half_neighbor_list", TORCH_BOX(&flashmd::half_neighbor_list));
  m.impl("count_moved", TORCH_BOX(&flashmd::count_moved));
}
#endif
STABLE_TORCH_LIBRARY_IMPL(FLASHMD_LIBRARY, FLASHMD_CUDA_KEY, m) {
  flashmd::implement(m);
}

#include "neighbor_list.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void neighbor_count(const Batch<T>& batch, int64_t* row_ptr, int64_t* status, Stream stream) {
  launch<clear_status>({1, 1}, stream, status);
  launch<count_kernel<T>>(threads_for(batch.n_atoms), stream, batch, row_ptr, status);
  launch<scan_kernel>({1}, stream, row_ptr, batch.n_atoms, status);
}

NeighborStatus read_status(const int64_t* status, Stream stream) {
  int64_t values[3];
  copy_to_host(values, status, sizeof values, stream);
  return {values[0], values[1], values[2]};
}

template <typename T>
void neighbor_fill(const Batch<T>& batch, const NeighborOutput& out, Stream stream) {
  launch<fill_kernel<T>>(threads_for(batch.n_atoms), stream, batch, out);
  launch<transpose_kernel>(threads_for(batch.n_atoms), stream, batch.n_atoms, out);
}

template void neighbor_count(const Batch<float>&, int64_t*, int64_t*, Stream);
template void neighbor_count(const Batch<double>&, int64_t*, int64_t*, Stream);
template void neighbor_fill(const Batch<float>&, const NeighborOutput&, Stream);
template void neighbor_fill(const Batch<double>&, const NeighborOutput&, Stream);

}  // namespace flashmd::cuda

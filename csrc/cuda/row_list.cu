#include "row_list.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void row_list_update(const Batch<T>& batch, double skin, const RowList<T>& list, Stream stream) {
  const T limit = static_cast<T>(0.25 * skin * skin);
  launch<moved_kernel<T>>(threads_for(batch.n_atoms), stream, batch.positions, batch.n_atoms, limit, list);
  launch<begin_update_kernel<T>>({1, 1}, stream, list);
  launch<count_rows_kernel<T>>(threads_for(batch.n_atoms * kWarp), stream, batch, list);
  launch<scan_rows_kernel<T>>({1}, stream, batch.n_atoms, list);
  launch<fill_rows_kernel<T>>(threads_for(batch.n_atoms * kWarp), stream, batch, list);
}

template void row_list_update(const Batch<float>&, double, const RowList<float>&, Stream);
template void row_list_update(const Batch<double>&, double, const RowList<double>&, Stream);

}  // namespace flashmd::cuda

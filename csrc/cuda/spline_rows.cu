#include "spline_rows.cuh"

#include "launch.h"

namespace flashmd::cuda {
namespace {

// Shared memory of a block: the slice of the table and `n_arrays` slices of the features of the largest system.
template <typename T>
Shape shape_of(const RowPlan& plan, const RowTable<T>& table, int n_arrays) {
  size_t n_numbers = plan.keep == Keep::nothing ? 0 : size_t{kKnot} * table.n_knots;
  if (plan.keep == Keep::table_and_features) n_numbers += size_t{kSlice} * n_arrays * plan.most_atoms;
  return {static_cast<unsigned>(plan.n_groups * plan.n_parts * plan.n_slices), static_cast<unsigned>(plan.n_threads),
          n_numbers * sizeof(T)};
}

// Call function with the place that the plan names as a constant.
template <typename F>
void for_keep(Keep keep, const F& function) {
  if (keep == Keep::nothing) return function.template operator()<Keep::nothing>();
  if (keep == Keep::table) return function.template operator()<Keep::table>();
  function.template operator()<Keep::table_and_features>();
}

}  // namespace

template <typename T>
void row_geometry(const RowGeometry<T>& input, const RowPairs<T>& out, Stream stream) {
  launch<geometry_kernel<T>>(threads_for(input.n_atoms * kWarp), stream, input, out);
}

template <typename T>
void row_convolve(const RowSystems& systems, const RowPairs<T>& rows, const RowTable<T>& table, const RowPlan& plan,
                  const T* features, T* out, Stream stream) {
  for_keep(plan.keep, [&]<Keep kKeep>() {
    launch<convolve_kernel<T, kKeep>>(shape_of(plan, table, 1), stream, systems, rows, table, plan, features, out);
  });
}

template <typename T>
void row_differentiate(const RowSystems& systems, const RowPairs<T>& rows, const RowTable<T>& table,
                       const RowPlan& plan, const RowGradients<T>& gradients, Stream stream) {
  for_keep(plan.keep, [&]<Keep kKeep>() {
    const Shape shape = shape_of(plan, table, 2);
    if (gradients.virial) {
      launch<differentiate_kernel<T, kKeep, true>>(shape, stream, systems, rows, table, plan, gradients);
    } else {
      launch<differentiate_kernel<T, kKeep, false>>(shape, stream, systems, rows, table, plan, gradients);
    }
  });
}

#define FLASHMD_INSTANTIATE(T)                                                                                        \
  template void row_geometry(const RowGeometry<T>&, const RowPairs<T>&, Stream);                                      \
  template void row_convolve(const RowSystems&, const RowPairs<T>&, const RowTable<T>&, const RowPlan&, const T*, T*, \
                             Stream);                                                                                 \
  template void row_differentiate(const RowSystems&, const RowPairs<T>&, const RowTable<T>&, const RowPlan&,          \
                                  const RowGradients<T>&, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

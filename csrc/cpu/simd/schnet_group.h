// The arrays of a group of systems during its evaluation.
#pragma once

#include "../schnet_layout.h"
#include "gemm.h"
#include "spline_conv.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Matrices are in chunk layout with n_rows rows (see gemm.h); rows beyond the atoms hold zeros or numbers that no one
// reads.
template <typename T>
struct Group {
  const SchNetModel<T>& model;
  const SchNetBatch<T>& batch;
  const SchNetGroup& pairs;
  const SchNetLayout layout;
  const SchNetWorkspace space;
  T *sent, *features, *messages, *down, *slope_of_activation, *atom_energy, *tiles, *partial, *points, *place,
      *inverse_distance, *pair_slope, *slabs;
  PlacedPair<T>* sorted_pairs;
  int32_t *interval, *begin, *next;

  Group(const SchNetModel<T>& the_model, const SchNetBatch<T>& the_batch, const SchNetGroup& the_group, T* workspace,
        int64_t n_threads)
      : model(the_model),
        batch(the_batch),
        pairs(the_group),
        layout(the_model.sizes),
        space(the_model.sizes, the_group.n_atoms, the_group.n_pairs, sizeof(T), the_model.tiles != nullptr, n_threads),
        sent(workspace + space.sent),
        features(workspace + space.features),
        messages(workspace + space.messages),
        down(workspace + space.down),
        slope_of_activation(workspace + space.slope_of_activation),
        atom_energy(workspace + space.atom_energy),
        tiles(workspace + space.tile),
        partial(workspace + space.partial),
        points(workspace + space.points),
        place(workspace + space.place),
        inverse_distance(workspace + space.inverse_distance),
        pair_slope(workspace + space.pair_slope),
        slabs(workspace + space.slab),
        sorted_pairs(reinterpret_cast<PlacedPair<T>*>(workspace + space.sorted)),
        interval(reinterpret_cast<int32_t*>(workspace + space.interval)),
        begin(reinterpret_cast<int32_t*>(workspace + space.begin)),
        next(reinterpret_cast<int32_t*>(workspace + space.next)) {}

  int64_t chunk_size() const { return space.n_rows * kLanes; }
  // Passes over the pairs on the way back; each leaves its own sums in `partial`.
  int64_t n_passes() const { return round_up(model.sizes.n_filters / kLanes, kPassChunks<T>) / kPassChunks<T>; }
  int64_t rows_of_tile(int64_t tile) const {
    const int64_t rest = space.n_rows - tile * space.tile_rows;
    return rest < space.tile_rows ? rest : space.tile_rows;
  }
  // Rows of a tile of a matrix of all rows.
  Tile<T> rows(T* matrix, int64_t tile) const { return {matrix + tile * space.tile_rows * kLanes, chunk_size()}; }
  T* sent_by(int64_t block) const { return sent + block * model.sizes.n_filters * space.n_rows; }
  T* activation_slope(int64_t block) const {
    return slope_of_activation + block * model.sizes.n_channels * space.n_rows;
  }
  int64_t table_size() const { return (model.sizes.n_intervals + 1) * 2 * kLanes; }
  const T* table(int64_t block, int64_t chunk) const {
    const int64_t n_chunks = model.sizes.n_filters / kLanes;
    return model.table + (block * n_chunks + chunk) * table_size();
  }
  SortedPairs<T> sorted() const { return {sorted_pairs, begin, model.sizes.n_intervals}; }
};

}  // namespace flashmd::cpu::FLASHMD_ISA

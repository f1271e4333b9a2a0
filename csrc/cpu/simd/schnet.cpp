// A frozen SchNet from positions to energies and forces.
//
// The work of a group falls into phases: convolutions run over chunks of channels, node layers over tiles of atoms.
// Within a phase no two tasks write to the same place, and each adds in a fixed order, so a team of threads and a
// single one give the same bits.

#include "schnet_nodes.h"
#include "schnet_pairs.h"

namespace flashmd::cpu::FLASHMD_ISA {
namespace {

template <typename T, typename S>
class Evaluation {
public:
  Evaluation(const Group<T>& group, int64_t n_threads)
      : group_(group), sizes_(group.model.sizes), n_chunks_(sizes_.n_filters / kLanes), n_threads_(n_threads) {}

  void run(const SchNetResult<T>& result) const {
    copy_positions(group_);
    for_each(group_.space.n_slabs, [&](int64_t slab) {
      locate_pairs(group_, slab);
      count_pairs(group_, slab);
    });
    place_counts(group_);
    for_each(group_.space.n_slabs, [&](int64_t slab) { sort_pairs(group_, slab); });
    for_each_tile([&](const NodeLayers<T, S>& nodes) { nodes.start(); });
    for (int64_t block = 0; block < sizes_.n_blocks; ++block) {
      for_each(n_chunks_, [&](int64_t chunk) { convolve(block, chunk, group_.sent_by(block)); });
      for_each_tile([&](const NodeLayers<T, S>& nodes) {
        nodes.advance(block);
        if (block + 1 < sizes_.n_blocks) return;
        nodes.read_out();
        nodes.pull_back(block);
      });
    }
    for (int64_t block = sizes_.n_blocks - 1; block >= 0; --block) pull_back(block);
    for_each(group_.space.n_slabs,
             [&](int64_t slab) { result.virial ? add_forces<true>(group_, slab) : add_forces<false>(group_, slab); });
    write_result(group_, result);
  }

private:
  // What the first block sent does not depend on positions, so nothing need be carried back to it.
  void pull_back(int64_t block) const {
    const int64_t n_passes = group_.n_passes();
    if (block == 0) return for_each(n_passes, [&](int64_t pass) { pull_back<false>(block, pass); });
    if (n_threads_ > n_passes) {
      // The two parts of a pass need nothing of each other; apart, they read more but keep twice as many threads busy.
      for_each(2 * n_passes, [&](int64_t task) {
        if (task % 2 == 0) return pull_back<false>(block, task / 2);
        for (int64_t c = first_chunk(task / 2); c < first_chunk(task / 2 + 1); ++c) convolve(block, c, group_.down);
      });
    } else {
      for_each(n_passes, [&](int64_t pass) { pull_back<true>(block, pass); });
    }
    for_each_tile([&](const NodeLayers<T, S>& nodes) {
      nodes.add_received(block);
      nodes.pull_back(block - 1);
    });
  }

  void convolve(int64_t block, int64_t chunk, const T* in) const {
    T* out = group_.messages + chunk * group_.chunk_size();
    memset(out, 0, group_.chunk_size() * sizeof(T));
    convolve_chunk(group_.sorted(), group_.table(block, chunk), in + chunk * group_.chunk_size(), out);
  }

  int64_t first_chunk(int64_t pass) const {
    const int64_t chunk = pass * kPassChunks<T>;
    return chunk < n_chunks_ ? chunk : n_chunks_;
  }

  template <bool kConvolve>
  void pull_back(int64_t block, int64_t pass) const {
    const int64_t first = first_chunk(pass), n = first_chunk(pass + 1) - first;
    T* slope = group_.partial + pass * group_.space.n_pairs;
    if (block == sizes_.n_blocks - 1) memset(slope, 0, group_.space.n_pairs * sizeof(T));
    if constexpr (kConvolve) {
      memset(group_.messages + first * group_.chunk_size(), 0, n * group_.chunk_size() * sizeof(T));
    }
    if (n == kPassChunks<T>) return pull_back<kConvolve, kPassChunks<T>>(block, first, slope);
    pull_back<kConvolve, 1>(block, first, slope);
  }

  template <bool kConvolve, int kChunks>
  void pull_back(int64_t block, int64_t chunk, T* slope) const {
    const int64_t offset = chunk * group_.chunk_size();
    pull_back_chunks<kConvolve, kChunks>(group_.sorted(), group_.table(block, chunk), group_.down + offset,
                                         group_.sent_by(block) + offset, slope, group_.messages + offset,
                                         {group_.table_size(), group_.chunk_size()});
  }

  template <typename F>
  void for_each(int64_t n_tasks, const F& task) const {
    parallel_for(n_tasks, n_threads_ > 1 ? 1 : n_tasks, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) task(i);
    });
  }

  template <typename F>
  void for_each_tile(const F& task) const {
    const int64_t n_tiles = group_.space.n_tiles;
    parallel_for(n_tiles, n_threads_ > 1 ? 1 : n_tiles, [&](int64_t begin, int64_t end) {
      if constexpr (kMultipliesTiles<T>) {
        if (group_.model.tiles) set_up_tiles(group_.space.tile_rows);
      }
      for (int64_t tile = begin; tile < end; ++tile) {
        // A thread uses one scratch space for all its tiles, which stays in its cache.
        T* scratch = group_.tiles + begin * group_.space.tile_size;
        task(NodeLayers<T, S>(group_, tile, scratch));
      }
      if constexpr (kMultipliesTiles<T>) {
        if (group_.model.tiles) release_tiles();
      }
    });
  }

  const Group<T>& group_;
  const SchNetSizes& sizes_;
  const int64_t n_chunks_;
  const int64_t n_threads_;
};

}  // namespace

template <typename T>
void evaluate_schnet(const SchNetModel<T>& model, const SchNetBatch<T>& batch, const SchNetGroup& group,
                     const SchNetResult<T>& result, T* workspace, int64_t n_threads) {
  const Group<T> arrays(model, batch, group, workspace, n_threads);
  switch (model.sizes.storage) {
    case Storage::full:
      return Evaluation<T, T>(arrays, n_threads).run(result);
    case Storage::float16:
      return Evaluation<T, Float16>(arrays, n_threads).run(result);
    case Storage::bfloat16:
      return Evaluation<T, BFloat16>(arrays, n_threads).run(result);
    case Storage::int16:
      return Evaluation<T, Int16>(arrays, n_threads).run(result);
  }
}

#define FLASHMD_INSTANTIATE(T)                                                                    \
  template void evaluate_schnet(const SchNetModel<T>&, const SchNetBatch<T>&, const SchNetGroup&, \
                                const SchNetResult<T>&, T*, int64_t);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace flashmd::cpu::FLASHMD_ISA

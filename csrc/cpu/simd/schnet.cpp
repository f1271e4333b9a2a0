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
  Evaluation(const Group<T>& group, bool team)
      : group_(group), sizes_(group.model.sizes), n_chunks_(sizes_.n_filters / kLanes), team_(team) {}

  void run(const SchNetResult<T>& result) const {
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
    for_each(group_.space.n_slabs, [&](int64_t slab) { add_forces(group_, slab); });
    write_result(group_, result);
  }

private:
  void pull_back(int64_t block) const {
    for_each(n_chunks_, [&](int64_t chunk) { pull_back(block, chunk); });
    if (block == 0) return;
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

  // What the first block sent does not depend on positions, so nothing need be carried back to it.
  void pull_back(int64_t block, int64_t chunk) const {
    const int64_t offset = chunk * group_.chunk_size();
    T *slope = group_.partial + chunk * group_.space.n_pairs, *out = group_.messages + offset;
    const T *table = group_.table(block, chunk), *down = group_.down + offset, *sent = group_.sent_by(block) + offset;
    if (block == sizes_.n_blocks - 1) memset(slope, 0, group_.space.n_pairs * sizeof(T));
    if (block == 0) return pull_back_chunk<false>(group_.sorted(), table, down, sent, slope, out);
    memset(out, 0, group_.chunk_size() * sizeof(T));
    pull_back_chunk<true>(group_.sorted(), table, down, sent, slope, out);
  }

  template <typename F>
  void for_each(int64_t n_tasks, const F& task) const {
    parallel_for(n_tasks, team_ ? 1 : n_tasks, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) task(i);
    });
  }

  template <typename F>
  void for_each_tile(const F& task) const {
    for_each(group_.n_tiles(), [&](int64_t tile) {
      // A single thread uses one scratch space for all tiles, which stays in its cache.
      task(NodeLayers<T, S>(group_, tile, group_.tiles + (team_ ? tile : 0) * group_.space.tile_size));
    });
  }

  const Group<T>& group_;
  const SchNetSizes& sizes_;
  const int64_t n_chunks_;
  const bool team_;
};

}  // namespace

template <typename T>
void evaluate_schnet(const SchNetModel<T>& model, const SchNetBatch<T>& batch, const SchNetGroup& group,
                     const SchNetResult<T>& result, T* workspace, bool team) {
  const Group<T> arrays(model, batch, group, workspace);
  switch (model.sizes.storage) {
    case Storage::full:
      return Evaluation<T, T>(arrays, team).run(result);
    case Storage::float16:
      return Evaluation<T, Float16>(arrays, team).run(result);
    case Storage::bfloat16:
      return Evaluation<T, BFloat16>(arrays, team).run(result);
    case Storage::int16:
      return Evaluation<T, Int16>(arrays, team).run(result);
  }
}

#define FLASHMD_INSTANTIATE(T)                                                                    \
  template void evaluate_schnet(const SchNetModel<T>&, const SchNetBatch<T>&, const SchNetGroup&, \
                                const SchNetResult<T>&, T*, bool);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace flashmd::cpu::FLASHMD_ISA

// One pass over positions, velocities, forces and noise. Every number is computed by itself and rounded after each
// operation, so it depends neither on threads nor on its place in the batch nor on the processor.

#include "langevin.h"

#include "random_tile.h"

namespace flashmd::cpu {
namespace {

template <typename T>
FLASHMD_INLINE void advance_atoms(const LangevinInput<T>& in, int64_t begin, int64_t end,
                                  const LangevinOutput<T>& out) {
  Tile tile;
  for (int64_t first = begin; first < end; first += kTile) {
    const int n_atoms = fill_streams(in.streams, first, end, tile);
    fill_words(in.seed, in.counter, 0, tile);
    fill_normals(tile);
    for (int i = 0; i < n_atoms; ++i) {
      for (int d = 0; d < 3; ++d) langevin_component(in, first + i, d, static_cast<T>(tile.numbers[d][i]), out);
    }
  }
}

#define FLASHMD_INSTANTIATE(T)                                                           \
  FLASHMD_CLONES void atom_range(const LangevinInput<T>& in, int64_t begin, int64_t end, \
                                 const LangevinOutput<T>& out) {                         \
    advance_atoms(in, begin, end, out);                                                  \
  }
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace

template <typename T>
void langevin_step(const LangevinInput<T>& in, const LangevinOutput<T>& out) {
  // An atom costs about as much as 64 elementary operations.
  parallel_for(in.n_atoms, grain_for(in.n_atoms, 64 * in.n_atoms),
               [&](int64_t begin, int64_t end) { atom_range(in, begin, end, out); });
}

template void langevin_step(const LangevinInput<float>&, const LangevinOutput<float>&);
template void langevin_step(const LangevinInput<double>&, const LangevinOutput<double>&);

}  // namespace flashmd::cpu

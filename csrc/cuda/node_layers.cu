#include "node_layers.cuh"

#include "launch.h"

namespace flashmd::cuda {

template <typename T>
void node_layer(const NodeLayer<T>& layer, Stream stream) {
  const int64_t n_blocks = (layer.n_rows + kTile - 1) / kTile * ((layer.n_out + kTile - 1) / kTile);
  launch<node_layer_kernel<T>>({static_cast<unsigned>(n_blocks)}, stream, layer);
}

template <typename T>
void node_energy(const NodeEnergy<T>& layer, Stream stream) {
  launch<node_energy_kernel<T>>(threads_for(layer.n_atoms * kWarp), stream, layer);
}

template <typename T>
void totals(const Totals<T>& totals, Stream stream) {
  launch<totals_kernel<T>>({static_cast<unsigned>(totals.n_systems)}, stream, totals);
}

#define FLASHMD_INSTANTIATE(T)                             \
  template void node_layer(const NodeLayer<T>&, Stream);   \
  template void node_energy(const NodeEnergy<T>&, Stream); \
  template void totals(const Totals<T>&, Stream);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cuda

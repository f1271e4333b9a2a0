// Sizes of a frozen SchNet and of what its evaluation needs.

#include "schnet_layout.h"

namespace flashmd::cpu {

bool read_schnet_sizes(const int64_t* given, int64_t count, SchNetSizes& sizes) {
  constexpr int64_t kFixed = 8, kMostBlocks = 64, kMost = 1 << 24;
  const auto fits = [](int64_t number, int64_t step) { return number > 0 && number < kMost && number % step == 0; };
  if (count < kFixed || given[5] < 0 || given[5] > kMostReadoutLayers || count != kFixed + given[5]) return false;
  if (given[3] < 1 || given[3] > kMostBlocks || given[6] < 0 || given[6] > 2 || given[7] < 0 || given[7] > 3) {
    return false;
  }
  bool good = fits(given[0], 1) && fits(given[1], kChunk) && fits(given[2], kChunk) && fits(given[4], 1);
  sizes = {};
  sizes.n_types = given[0];
  sizes.n_channels = given[1];
  sizes.n_filters = given[2];
  sizes.n_blocks = given[3];
  sizes.n_intervals = given[4];
  sizes.n_hidden = given[5];
  sizes.activation = static_cast<Activation>(given[6]);
  sizes.storage = static_cast<Storage>(given[7]);
  for (int64_t i = 0; i < sizes.n_hidden; ++i) sizes.hidden[i] = given[kFixed + i];
  for (int64_t i = 0; i < sizes.n_hidden; ++i) good = good && fits(sizes.hidden[i], kChunk);
  return good;
}

template <typename T>
int64_t schnet_workspace_size(const SchNetModel<T>& model, int64_t n_atoms, int64_t n_pairs, int64_t n_threads) {
  return SchNetWorkspace(model.sizes, n_atoms, n_pairs, sizeof(T), model.tiles != nullptr, n_threads).size;
}

int64_t schnet_tiles_size(const SchNetSizes& sizes) {
  return SchNetLayout(sizes).n_tile_words;
}

int64_t schnet_weights_size(const SchNetSizes& sizes) {
  return SchNetLayout(sizes).n_weights;
}

int64_t schnet_constants_size(const SchNetSizes& sizes) {
  return SchNetLayout(sizes).n_constants;
}

template int64_t schnet_workspace_size(const SchNetModel<float>&, int64_t, int64_t, int64_t);
template int64_t schnet_workspace_size(const SchNetModel<double>&, int64_t, int64_t, int64_t);

}  // namespace flashmd::cpu

#include "flash.h"

namespace flashmd::cpu {

int64_t flash_scratch(const FlashSizes& sizes) {
  const auto padded = [](int64_t n) { return (n + 15) / 16 * 16; };
  const int64_t n_filters = padded(sizes.n_filters), n_basis = padded(sizes.n_basis), rows = kFlashTile;
  const int64_t weights = n_filters * (n_filters + n_basis + 1) + 2 * n_basis;
  const int64_t network = weights + n_filters * (n_filters + n_basis);
  const int64_t tile = rows * (10 * n_filters + 4 * n_basis + 16 + 10);
  return 2 * network + kFlashSlots * (tile + weights) + n_filters * (2 * kFlashPairs + 5 * sizes.n_atoms);
}

}  // namespace flashmd::cpu

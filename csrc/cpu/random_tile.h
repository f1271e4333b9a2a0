// Random numbers of sixteen rows at once: each loop over a tile is one vector loop. A padded tile goes through the same
// instructions, so a row gives the same numbers wherever it stands.
#pragma once

#include "../include/philox.h"
#include "parallel.h"

namespace flashmd::cpu {

constexpr int kTile = 16;

// Four words and four numbers of each row.
struct Tile {
  uint64_t stream[kTile];
  uint32_t words[4][kTile];
  double numbers[4][kTile];
};

// Name the rows first .. first + kTile by their streams; return how many of them there are.
FLASHMD_INLINE int fill_streams(const int64_t* stream, int64_t first, int64_t end, Tile& tile) {
  const int n_rows = static_cast<int>(end - first < kTile ? end - first : kTile);
  for (int i = 0; i < kTile; ++i) tile.stream[i] = i < n_rows ? static_cast<uint64_t>(stream[first + i]) : 0;
  return n_rows;
}

FLASHMD_INLINE void fill_words(uint64_t seed, uint64_t counter, uint32_t block, Tile& tile) {
  for (int i = 0; i < kTile; ++i) {
    uint32_t words[4];
    philox(seed, tile.stream[i], counter, block, words);
    for (int w = 0; w < 4; ++w) tile.words[w][i] = words[w];
  }
}

FLASHMD_INLINE void fill_normals(Tile& tile) {
  for (int w = 0; w < 4; w += 2) {
    for (int i = 0; i < kTile; ++i) {
      normals_from_words(tile.words[w][i], tile.words[w + 1][i], tile.numbers[w][i], tile.numbers[w + 1][i]);
    }
  }
}

FLASHMD_INLINE void fill_uniforms(Tile& tile) {
  for (int w = 0; w < 4; ++w) {
    for (int i = 0; i < kTile; ++i) tile.numbers[w][i] = uniform_from_word(tile.words[w][i]);
  }
}

}  // namespace flashmd::cpu

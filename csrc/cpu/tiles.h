// Products of float32 matrices by instructions that multiply tiles of bfloat16 numbers (AMX of x86-64 processors).
//
// A float32 number is the sum of three bfloat16 numbers x0 + x1 + x2, each of them what is left, rounded to eight bits:
// |x1| <= 2^-8 |x| and |x2| <= 2^-16 |x|. Products of parts are exact in float32, and x w is the sum of the six with
// i + j <= 2 but for at most (2^-23 + 2^-32) |x w|; a rounding of float32 is 2^-24. Weights of 16 bits have fewer
// parts, and a bfloat16 weight needs only three products.
#pragma once

#include <cstdint>

#include "schnet.h"

namespace flashmd::cpu {

constexpr int64_t kTileSide = 16;                       // rows of a tile, and columns of the result
constexpr int64_t kTileInner = 32;                      // inner indices of a tile
constexpr int64_t kTileWords = kTileSide * kTileInner;  // bfloat16 numbers of a tile
constexpr int64_t kMostParts = 3;

// Whether this processor multiplies tiles and the system lets this process do so.
bool has_tiles();

// A thread sets up its tile registers for so many rows, at most kTileSide, before it multiplies, and releases them.
void set_up_tiles(int64_t n_rows);
void release_tiles();

// Parts of a weight that is stored in this way.
constexpr int64_t parts_of(Storage storage) {
  return storage == Storage::full ? 3 : storage == Storage::bfloat16 ? 1 : 2;
}

// Numbers of the parts of sixteen rows.
constexpr int64_t split_size(int64_t n_inner) {
  return (n_inner + kTileInner - 1) / kTileInner * kMostParts * kTileWords;
}

// Write the matrices of a model as tiles; see SchNetLayout for what stands where. Up to four chunks of sixteen columns
// stand together: [n_inner / 32][4][n_parts][16][16][2], the last two being row j of the tile's first and second
// sixteen inner indices.
void pack_tiles(const SchNetSizes& sizes, const void* weights, uint16_t* tiles);

// out [n_chunks][16][16] = left [n_rows, n_inner] times right; left is in chunk layout (see simd/gemm.h) with `stride`
// numbers from one chunk to the next, n_rows is at most 16, and `parts` has split_size(n_inner) numbers. A row does not
// depend on the others. Rows beyond n_rows are not defined.
void multiply_tiles(const float* left, int64_t stride, int64_t n_rows, int64_t n_inner, const uint16_t* right,
                    int64_t n_parts, int64_t n_chunks, uint16_t* parts, float* out);

}  // namespace flashmd::cpu

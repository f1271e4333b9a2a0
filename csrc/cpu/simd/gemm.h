// Matrix products on tiles in chunk layout.
//
// A matrix [rows, columns] in chunk layout is stored as [columns / 16][rows][16]: a chunk holds sixteen columns of all
// rows, so sixteen results are one vector, and columns are padded with zeros to a multiple of sixteen. A right-hand
// factor B [n_inner, n_columns] is packed the same way.
#pragma once

#include "storage.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Rows and chunks whose sums are kept in registers. The product of both and of the registers of a chunk must leave room
// for one row of B.
template <typename T>
struct Block;
#if defined(FLASHMD_ISA_AVX512)
template <>
struct Block<float> {
  static constexpr int rows = 6, chunks = 4;
};
template <>
struct Block<double> {
  static constexpr int rows = 6, chunks = 2;
};
#elif defined(FLASHMD_ISA_AVX2)
template <>
struct Block<float> {
  static constexpr int rows = 6, chunks = 1;
};
template <>
struct Block<double> {
  static constexpr int rows = 2, chunks = 1;
};
#else
template <>
struct Block<float> {
  static constexpr int rows = 2, chunks = 1;
};
template <>
struct Block<double> {
  static constexpr int rows = 1, chunks = 1;
};
#endif

// Rows of a matrix in chunk layout: `data` is the first row wanted, `stride` the numbers from one chunk to the next.
template <typename T>
struct Tile {
  T* data;
  int64_t stride;

  FLASHMD_INLINE T* at(int64_t row, int64_t chunk) const { return data + chunk * stride + row * kLanes; }
};

// Sums of kRows rows and kChunks chunks; left points at the first row. The order of the sums is that of the inner
// index.
template <int kRows, int kChunks, typename T, typename S, typename E>
FLASHMD_INLINE void multiply_block(const Tile<const T>& left, int64_t row, int64_t n_inner, const S* right,
                                   int64_t chunk, const E& epilogue) {
  Vec<T> sums[kRows][kChunks];
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) sums[r][c] = splat(T(0));
  }
  const int64_t chunk_size = n_inner * kLanes;
  for (int64_t outer = 0; outer < n_inner; outer += kLanes) {
    const T* a = left.at(row, outer / kLanes);
    const S* b = right + chunk * chunk_size + outer * kLanes;
#pragma GCC unroll 1
    for (int k = 0; k < kLanes; ++k) {
      Vec<T> factor[kChunks];
#pragma GCC unroll 4
      for (int c = 0; c < kChunks; ++c) factor[c] = load_stored<T>(b + c * chunk_size + k * kLanes);
#pragma GCC unroll 24
      for (int r = 0; r < kRows; ++r) {
        const T number = a[r * kLanes + k];
#pragma GCC unroll 4
        for (int c = 0; c < kChunks; ++c) sums[r][c] += number * factor[c];
      }
    }
  }
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) epilogue(row + r, chunk + c, sums[r][c]);
  }
}

// epilogue(row, chunk, vector) for every vector of left [n_rows, n_inner] times right [n_inner, n_chunks * 16].
//
// Every element is a sum in the order of the inner index, whatever the blocking, so rows may be cut into tiles at will.
// n_inner is a multiple of 16 and n_rows of 6, so that every block of registers is full.
template <typename T, typename S, typename E>
FLASHMD_INLINE void multiply(const Tile<const T>& left, int64_t n_rows, int64_t n_inner, const S* right,
                             int64_t n_chunks, const E& epilogue) {
  constexpr int kRows = Block<T>::rows, kChunks = Block<T>::chunks;
  int64_t chunk = 0;
  for (; chunk + kChunks <= n_chunks; chunk += kChunks) {
    for (int64_t row = 0; row < n_rows; row += kRows) {
      multiply_block<kRows, kChunks>(left, row, n_inner, right, chunk, epilogue);
    }
  }
  for (; chunk < n_chunks; ++chunk) {
    for (int64_t row = 0; row < n_rows; row += kRows) {
      multiply_block<kRows, 1>(left, row, n_inner, right, chunk, epilogue);
    }
  }
}

}  // namespace flashmd::cpu::FLASHMD_ISA

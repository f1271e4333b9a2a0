// Products of a transposed tile with a tile, for the gradients of weights (see gemm.h for the layout).
#pragma once

#include "gemm.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Columns of the left tile and chunks of the right one whose sums are kept in registers.
template <typename T>
struct GradientBlock;
#if defined(FLASHMD_ISA_AVX512)
template <>
struct GradientBlock<float> {
  static constexpr int columns = 4, chunks = 4;
};
template <>
struct GradientBlock<double> {
  static constexpr int columns = 4, chunks = 2;
};
#elif defined(FLASHMD_ISA_AVX2)
template <>
struct GradientBlock<float> {
  static constexpr int columns = 4, chunks = 1;
};
template <>
struct GradientBlock<double> {
  static constexpr int columns = 2, chunks = 1;
};
#else
template <>
struct GradientBlock<float> {
  static constexpr int columns = 2, chunks = 1;
};
template <>
struct GradientBlock<double> {
  static constexpr int columns = 1, chunks = 1;
};
#endif

template <int kColumns, int kChunks, typename T>
FLASHMD_INLINE void accumulate_block(const Tile<const T>& left, int64_t column, const Tile<const T>& right,
                                     int64_t chunk, int64_t n_rows, const Tile<T>& sums) {
  Vec<T> total[kColumns][kChunks];
#pragma GCC unroll 4
  for (int i = 0; i < kColumns; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) total[i][c] = load(sums.at(column + i, chunk + c));
  }
  const T* a = left.at(0, column / kLanes) + column % kLanes;
  const T* b = right.at(0, chunk);
#pragma GCC unroll 1
  for (int64_t row = 0; row < n_rows; ++row) {
    Vec<T> factor[kChunks];
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) factor[c] = load(b + c * right.stride + row * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kColumns; ++i) {
      const T number = a[row * kLanes + i];
#pragma GCC unroll 4
      for (int c = 0; c < kChunks; ++c) total[i][c] += number * factor[c];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kColumns; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) store(sums.at(column + i, chunk + c), total[i][c]);
  }
}

// sums [n_columns, n_chunks * 16] += transposed left [n_rows, n_columns] times right [n_rows, n_chunks * 16]. Every
// element is a sum in the order of the rows.
template <typename T>
FLASHMD_INLINE void accumulate_product(const Tile<const T>& left, int64_t n_columns, const Tile<const T>& right,
                                       int64_t n_chunks, int64_t n_rows, const Tile<T>& sums) {
  constexpr int kColumns = GradientBlock<T>::columns, kChunks = GradientBlock<T>::chunks;
  int64_t chunk = 0;
  for (; chunk + kChunks <= n_chunks; chunk += kChunks) {
    for (int64_t column = 0; column < n_columns; column += kColumns) {
      accumulate_block<kColumns, kChunks>(left, column, right, chunk, n_rows, sums);
    }
  }
  for (; chunk < n_chunks; ++chunk) {
    for (int64_t column = 0; column < n_columns; column += kColumns) {
      accumulate_block<kColumns, 1>(left, column, right, chunk, n_rows, sums);
    }
  }
}

}  // namespace flashmd::cpu::FLASHMD_ISA

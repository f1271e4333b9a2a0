// What the parts of the convolution with recomputed filters share: packed weights, node arrays in chunk layout,
// scratch.
#pragma once

#include "../flash.h"
#include "gradient_gemm.h"
#include "parts.h"

namespace flashmd::cpu::FLASHMD_ISA {

constexpr int64_t kRows = kFlashTile;

FLASHMD_INLINE int64_t padded(int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

// Hands out pieces of the scratch.
template <typename T>
struct Arena {
  T* next;

  FLASHMD_INLINE T* take(int64_t n) {
    T* piece = next;
    next += n;
    return piece;
  }
  FLASHMD_INLINE T* zeros(int64_t n) {
    T* piece = take(n);
    for (int64_t i = 0; i < n; ++i) piece[i] = T(0);
    return piece;
  }
};

// [n_rows, n_columns] to chunk layout with `n_packed` rows, the new ones and columns zero; null for null.
template <typename T>
FLASHMD_INLINE const T* pack(const T* matrix, int64_t n_rows, int64_t n_columns, int64_t n_packed, Arena<T>& arena) {
  if (!matrix) return nullptr;
  T* packed = arena.zeros(n_packed * padded(n_columns));
  for (int64_t first = 0; first < n_columns; first += kLanes) {
    for (int64_t row = 0; row < n_rows; ++row) {
      const Vec<T> part = load_part(matrix + row * n_columns + first, n_columns - first);
      store(packed + first * n_packed + row * kLanes, part);
    }
  }
  return packed;
}

// The transposed matrix, packed with `n_packed` rows.
template <typename T>
FLASHMD_INLINE const T* pack_transposed(const T* matrix, int64_t n_rows, int64_t n_columns, int64_t n_packed,
                                        Arena<T>& arena) {
  if (!matrix) return nullptr;
  T* packed = arena.zeros(n_packed * padded(n_rows));
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t column = 0; column < n_columns; ++column) {
      packed[((row / kLanes) * n_packed + column) * kLanes + row % kLanes] = matrix[row * n_columns + column];
    }
  }
  return packed;
}

template <typename T>
FLASHMD_INLINE void unpack(const T* packed, int64_t n_packed, int64_t n_rows, int64_t n_columns, T* matrix) {
  for (int64_t first = 0; first < n_columns; first += kLanes) {
    for (int64_t row = 0; row < n_rows; ++row) {
      store_part(matrix + row * n_columns + first, load(packed + first * n_packed + row * kLanes), n_columns - first);
    }
  }
}

// Weights as right-hand factors of both directions; vectors padded with zeros. Null where a direction has no part.
template <typename T>
struct Network {
  const T *centres, *widths, *bias;
  const T *in, *in_back;    // basis to hidden layer and back
  const T *out, *out_back;  // hidden layer to filter and back

  FLASHMD_INLINE void fill(const FlashWeights<T>& weights, int64_t n_filters, int64_t n_basis, Arena<T>& arena) {
    centres = pack_transposed(weights.centres, n_basis, 1, 1, arena);
    widths = pack_transposed(weights.widths, n_basis, 1, 1, arena);
    bias = pack_transposed(weights.bias_in, n_filters, 1, 1, arena);
    in = pack_transposed(weights.weight_in, n_filters, n_basis, padded(n_basis), arena);
    in_back = pack(weights.weight_in, n_filters, n_basis, padded(n_filters), arena);
    out = pack_transposed(weights.weight_out, n_filters, n_filters, padded(n_filters), arena);
    out_back = pack(weights.weight_out, n_filters, n_filters, padded(n_filters), arena);
  }
};

// Sums over the pairs of a slot: gradients of the weights in the layout of `out_back` and `in_back`, then of the
// vectors.
template <typename T>
struct SlotSums {
  T *out, *in, *bias, *centres, *widths;
};

// The arrays of one tile. Of arrays with `n_rows` rows the first 48 hold values, the next 48 their derivatives along
// the direction, where there is one.
template <typename T>
struct TileScratch {
  T *basis, *hidden, *filter;           // layers, [.., n_rows, 16]
  T *slope, *bend;                      // a'(z) and a''(z) z', [n_filters / 16, 48, 16]
  T *by_filter, *by_hidden, *by_basis;  // gradients of the layers, [.., n_rows, 16]
  T* dots;                              // [48, 16], lanes of the gradients of the distances
  T* shared;                            // [10, 48], numbers of a pair
};

template <typename T>
struct Plan {
  int order;  // 0 value, 1 gradient, 2 gradient of the derivative along a direction
  bool by_features, by_distance, by_weights, by_basis, turned;  // `turned`: the direction has parts along the weights
  FlashForm form;
  int64_t n_atoms, n_filters, n_basis;  // the last two are padded
  int64_t n_active;
  const int64_t *receiver, *sender, *active;
  const T *distance, *direction;     // [n_pairs]
  const T *features, *grad, *along;  // [n_filters / 16, n_atoms, 16]; x, g and the direction of x
  Network<T> network, turn;
  T *filters, *turned_filters;  // [n_filters / 16, kFlashPairs, 16], W and its derivative
  T *out, *by_x;                // [n_filters / 16, n_atoms, 16]
  T* by_pair;                   // [n_pairs]
  SlotSums<T> slots[kFlashSlots];
  TileScratch<T> tiles[kFlashSlots];

  FLASHMD_INLINE int64_t n_rows() const { return order == 2 ? 2 * kRows : kRows; }
  FLASHMD_INLINE bool reverse() const { return by_distance || by_weights || by_basis; }
};

template <typename T>
FLASHMD_INLINE void take_tile(TileScratch<T>& tile, int64_t n_filters, int64_t n_basis, Arena<T>& arena) {
  tile.basis = arena.take(2 * kRows * n_basis);
  tile.hidden = arena.take(2 * kRows * n_filters);
  tile.filter = arena.take(2 * kRows * n_filters);
  tile.by_filter = arena.take(2 * kRows * n_filters);
  tile.by_hidden = arena.take(2 * kRows * n_filters);
  tile.slope = arena.take(kRows * n_filters);
  tile.bend = arena.take(kRows * n_filters);
  tile.by_basis = arena.take(2 * kRows * n_basis);
  tile.dots = arena.take(kRows * kLanes);
  tile.shared = arena.take(10 * kRows);
}

template <typename T>
FLASHMD_INLINE void take_slot(SlotSums<T>& slot, int64_t n_filters, int64_t n_basis, Arena<T>& arena) {
  slot.out = arena.zeros(n_filters * n_filters);
  slot.in = arena.zeros(n_filters * n_basis);
  slot.bias = arena.zeros(n_filters);
  slot.centres = arena.zeros(n_basis);
  slot.widths = arena.zeros(n_basis);
}

}  // namespace flashmd::cpu::FLASHMD_ISA

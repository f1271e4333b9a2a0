// Where the parts of a frozen SchNet and of its workspace lie in their arrays.
#pragma once

#include <initializer_list>

#include "tiles.h"

namespace flashmd::cpu {

constexpr int64_t kChunk = 16;        // channels of a vector
constexpr int64_t kRowStep = 6;       // atoms of a group are padded to a multiple of this
constexpr int64_t kSlabPairs = 2048;  // pairs that one thread sorts, and whose forces it sums, at a time
constexpr int64_t kVectorRows = 24;   // atoms whose node layers are computed together, by vectors

inline int64_t round_up(int64_t number, int64_t step) {
  return (number + step - 1) / step * step;
}

inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

// A dense layer: the matrices for the way forward [n_out / 16][n_in][16] and back [n_in / 16][n_out][16], the same as
// tiles, the scales of its output channels, its bias.
struct LayerPlace {
  int64_t n_in, n_out;
  int64_t forward, backward, forward_tiles, backward_tiles, scale, bias;
};

// Offsets in `weights` and in its tiles (forward, backward) and in `constants` (all others). The order is that in which
// pack.py writes.
struct SchNetLayout {
  LayerPlace layer[3 * 64];  // project, mix, update of each block
  LayerPlace readout[kMostReadoutLayers];
  int64_t embedding, sent;  // [n_types, n_channels]; [n_types, n_filters], what each type sends in the first block
  int64_t last_weight, last_bias;
  int64_t n_weights, n_tile_words, n_constants;

  explicit SchNetLayout(const SchNetSizes& sizes)
      : n_weights(0), n_tile_words(0), n_constants(0), n_parts_(parts_of(sizes.storage)) {
    embedding = take(sizes.n_types * sizes.n_channels);
    sent = take(sizes.n_types * sizes.n_filters);
    for (int64_t block = 0; block < sizes.n_blocks; ++block) {
      layer[3 * block] = place(sizes.n_channels, sizes.n_filters);
      layer[3 * block + 1] = place(sizes.n_filters, sizes.n_channels);
      layer[3 * block + 2] = place(sizes.n_channels, sizes.n_channels);
    }
    int64_t width = sizes.n_channels;
    for (int64_t i = 0; i < sizes.n_hidden; ++i) {
      readout[i] = place(width, sizes.hidden[i]);
      width = sizes.hidden[i];
    }
    last_weight = take(width);
    last_bias = take(kChunk);
  }

private:
  int64_t take(int64_t n) {
    n_constants += n;
    return n_constants - n;
  }
  LayerPlace place(int64_t n_in, int64_t n_out) {
    const int64_t forward = take_weights(n_in * n_out), backward = take_weights(n_in * n_out);
    const int64_t forward_tiles = take_tiles(n_in, n_out), backward_tiles = take_tiles(n_out, n_in);
    const int64_t scale = take(n_out);
    return {n_in, n_out, forward, backward, forward_tiles, backward_tiles, scale, take(n_out)};
  }
  int64_t take_weights(int64_t n) {
    n_weights += n;
    return n_weights - n;
  }
  int64_t take_tiles(int64_t n_inner, int64_t n_columns) {
    const int64_t n = round_up(n_inner, kTileInner) * n_columns * n_parts_;
    n_tile_words += n;
    return n_tile_words - n;
  }

  const int64_t n_parts_;
};

// Arrays of a group while it is evaluated; see the members of Group in simd/schnet_group.h.
struct SchNetWorkspace {
  const int64_t n_rows, tile_rows, n_tiles;  // atoms, padded; atoms of a tile
  int64_t n_pairs;                           // padded
  int64_t sent, features, messages, down, slope_of_activation, atom_energy, tile, partial, points, place,
      inverse_distance, pair_slope, slab;
  int64_t sorted, interval, begin, next;  // of pairs and of 32-bit integers, in units of the number type
  int64_t products, parts;                // within the scratch of a tile of atoms
  int64_t n_slabs, tile_size, size;

  // `tiles` tells whether node layers are computed by tiles.
  SchNetWorkspace(const SchNetSizes& sizes, int64_t n_atoms, int64_t pairs, int64_t number_bytes, bool tiles,
                  int64_t n_threads)
      : n_rows(round_up(n_atoms, kRowStep)),
        tile_rows(tiles ? even_rows(n_rows, n_threads) : kVectorRows),
        n_tiles(round_up(n_rows, tile_rows) / tile_rows),
        size(0) {
    n_pairs = round_up(pairs, kChunk);
    const int64_t n_chunks = sizes.n_filters / kChunk;
    sent = take(sizes.n_blocks * sizes.n_filters * n_rows);
    features = take(sizes.n_channels * n_rows);
    messages = take(sizes.n_filters * n_rows);
    down = take(sizes.n_filters * n_rows);
    slope_of_activation = take(sizes.n_blocks * sizes.n_channels * n_rows);
    atom_energy = take(n_rows);
    const int64_t widest = tiles ? widest_layer(sizes) : 0;
    products = tile_rows * tile_width(sizes);
    parts = products + kTileSide * widest;
    tile_size = parts + split_size(widest) / 2;
    tile = take(tile_size * (n_threads > 1 ? n_tiles : 1));
    partial = take(n_chunks * n_pairs);
    points = take(4 * n_rows);
    for (int64_t* array : {&place, &inverse_distance, &pair_slope}) *array = take(n_pairs);
    n_slabs = (n_pairs + kSlabPairs - 1) / kSlabPairs;
    slab = take(n_slabs * 4 * n_rows);
    const int64_t per_number = number_bytes / 4;
    sorted = take(4 * n_pairs);
    interval = take(n_pairs / per_number);
    begin = take((sizes.n_intervals + 1) / per_number + 1);
    next = take(n_slabs * (sizes.n_intervals + 1) / per_number + 1);
  }

private:
  // Rows of a tile such that every thread gets as many tiles, where there are enough of them.
  static int64_t even_rows(int64_t n_rows, int64_t n_threads) {
    const int64_t fewest = round_up(n_rows, kTileSide) / kTileSide;
    if (n_threads > fewest) return kTileSide;
    const int64_t n_tiles = round_up(fewest, n_threads);
    return (n_rows + n_tiles - 1) / n_tiles;
  }
  // Numbers per atom: the hidden layer of a block and a scaled gradient, or values and slopes of the whole readout.
  static int64_t tile_width(const SchNetSizes& sizes) {
    int64_t hidden = 0;
    for (int64_t i = 0; i < sizes.n_hidden; ++i) hidden += 2 * sizes.hidden[i];
    return hidden + 2 * larger(sizes.n_channels, sizes.n_filters);
  }
  static int64_t widest_layer(const SchNetSizes& sizes) {
    int64_t widest = larger(sizes.n_channels, sizes.n_filters);
    for (int64_t i = 0; i < sizes.n_hidden; ++i) widest = larger(widest, sizes.hidden[i]);
    return widest;
  }
  int64_t take(int64_t n) {
    size += round_up(n, kChunk);
    return size - round_up(n, kChunk);
  }
};

}  // namespace flashmd::cpu

// Node layers of a frozen SchNet, a tile of atoms at a time, forward and backward.
//
// S is the storage type of the matrices. The scale of an output channel is applied to the product on the way forward
// and to the gradient that enters the product on the way back, so both ways use the same stored numbers and the forces
// are the derivative of the energy.
#pragma once

#include "schnet_group.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Whether products can go by tiles, see tiles.h.
template <typename T>
constexpr bool kMultipliesTiles = false;
#if defined(FLASHMD_ISA_AVX512)
template <>
constexpr bool kMultipliesTiles<float> = true;
#endif

template <typename T, typename S>
class NodeLayers {
public:
  // `scratch` holds the intermediate results of one tile.
  NodeLayers(const Group<T>& group, int64_t tile, T* scratch)
      : group_(group),
        sizes_(group.model.sizes),
        tile_(tile),
        n_rows_(group.rows_of_tile(tile)),
        tile_rows_(group.space.tile_rows),
        hidden_{scratch, tile_rows_ * kLanes},
        scaled_{scratch + widest() * tile_rows_, tile_rows_ * kLanes},
        readout_(scratch + 2 * widest() * tile_rows_),
        products_(scratch + group.space.products),
        parts_(scratch + group.space.parts) {}

  // Features of the types and what they send in the first block.
  void start() const {
    const int64_t first_row = tile_ * tile_rows_;
    for (int64_t row = 0; row < n_rows_; ++row) {
      const bool is_atom = first_row + row < group_.pairs.n_atoms;
      const int64_t type = is_atom ? group_.batch.types[group_.pairs.first_atom + first_row + row] : 0;
      copy_row(constants() + group_.layout.embedding + type * sizes_.n_channels, features(), row, sizes_.n_channels);
      copy_row(constants() + group_.layout.sent + type * sizes_.n_filters, group_.rows(group_.sent_by(0), tile_), row,
               sizes_.n_filters);
    }
  }

  // From the messages of a block to the features after it and to what they send in the next one.
  void advance(int64_t block) const {
    const LayerPlace &mix = layer(block, 1), &update = layer(block, 2);
    const Tile<T> slopes = group_.rows(group_.activation_slope(block), tile_);
    forward(messages(), sizes_.n_filters, mix, sizes_.n_channels,
            [&](int64_t row, int64_t chunk, const Vec<T>& value) { store(hidden_.at(row, chunk), value); });
    activate_tile(hidden_, slopes, sizes_.n_channels);
    forward(hidden_, sizes_.n_channels, update, sizes_.n_channels,
            [&](int64_t row, int64_t chunk, const Vec<T>& value) { add(features(), row, chunk, value); });
    if (block + 1 == sizes_.n_blocks) return;
    const Tile<T> sent = group_.rows(group_.sent_by(block + 1), tile_);
    forward(features(), sizes_.n_channels, layer(block + 1, 0), sizes_.n_filters,
            [&](int64_t row, int64_t chunk, const Vec<T>& value) { store(sent.at(row, chunk), value); });
  }

  // Energies of the atoms; the features are overwritten by the derivative of the energy by them.
  void read_out() const {
    Tile<T> input = features();
    T* space = readout_;
    int64_t width = sizes_.n_channels;
    Tile<T> values[kMostReadoutLayers], slopes[kMostReadoutLayers];
    for (int64_t i = 0; i < sizes_.n_hidden; ++i) {
      values[i] = {space, tile_rows_ * kLanes};
      slopes[i] = {space + tile_rows_ * sizes_.hidden[i], tile_rows_ * kLanes};
      space += 2 * tile_rows_ * sizes_.hidden[i];
      forward(input, width, group_.layout.readout[i], sizes_.hidden[i],
              [&](int64_t row, int64_t chunk, const Vec<T>& value) { store(values[i].at(row, chunk), value); });
      activate_tile(values[i], slopes[i], sizes_.hidden[i]);
      input = values[i];
      width = sizes_.hidden[i];
    }
    write_energies(input, width);
    pull_back_readout(values, slopes);
  }

  // Add the derivative by what was sent in a block to the derivative by the features before it.
  void add_received(int64_t block) const {
    const LayerPlace& project = layer(block, 0);
    scale(messages(), sizes_.n_filters, project);
    backward(scaled_, sizes_.n_filters, project, sizes_.n_channels,
             [&](int64_t row, int64_t chunk, const Vec<T>& value) { add(features(), row, chunk, value); });
  }

  // From the derivative by the features after a block to that by its messages.
  void pull_back(int64_t block) const {
    const LayerPlace &mix = layer(block, 1), &update = layer(block, 2);
    const Tile<T> slopes = group_.rows(group_.activation_slope(block), tile_);
    const Tile<T> down = group_.rows(group_.down, tile_);
    const T* mix_scale = constants() + mix.scale;
    scale(features(), sizes_.n_channels, update);
    backward(scaled_, sizes_.n_channels, update, sizes_.n_channels,
             [&](int64_t row, int64_t chunk, const Vec<T>& value) {
               store(hidden_.at(row, chunk), value * load(slopes.at(row, chunk)) * load(mix_scale + chunk * kLanes));
             });
    backward(hidden_, sizes_.n_channels, mix, sizes_.n_filters,
             [&](int64_t row, int64_t chunk, const Vec<T>& value) { store(down.at(row, chunk), value); });
  }

private:
  int64_t widest() const { return sizes_.n_channels > sizes_.n_filters ? sizes_.n_channels : sizes_.n_filters; }
  const T* constants() const { return group_.model.constants; }
  const S* weights() const { return static_cast<const S*>(group_.model.weights); }
  const LayerPlace& layer(int64_t block, int64_t which) const { return group_.layout.layer[3 * block + which]; }
  Tile<T> features() const { return group_.rows(group_.features, tile_); }
  Tile<T> messages() const { return group_.rows(group_.messages, tile_); }

  static Tile<const T> constant(const Tile<T>& tile) { return {tile.data, tile.stride}; }

  static void copy_row(const T* from, const Tile<T>& to, int64_t row, int64_t n) {
    for (int64_t chunk = 0; chunk < n / kLanes; ++chunk) store(to.at(row, chunk), load(from + chunk * kLanes));
  }

  static FLASHMD_INLINE void add(const Tile<T>& to, int64_t row, int64_t chunk, const Vec<T>& value) {
    store(to.at(row, chunk), load(to.at(row, chunk)) + value);
  }

  // Replace values by their activations. This is a loop of its own because the products above are unrolled many times.
  void activate_tile(const Tile<T>& values, const Tile<T>& slopes, int64_t n) const {
    switch (sizes_.activation) {
      case Activation::tanh:
        return activate_tile<Activation::tanh>(values, slopes, n);
      case Activation::shifted_softplus:
        return activate_tile<Activation::shifted_softplus>(values, slopes, n);
      case Activation::silu:
        return activate_tile<Activation::silu>(values, slopes, n);
    }
  }
  template <Activation kKind>
  void activate_tile(const Tile<T>& values, const Tile<T>& slopes, int64_t n) const {
    for (int64_t chunk = 0; chunk < n / kLanes; ++chunk) {
      for (int64_t row = 0; row < n_rows_; ++row) {
        const ValueAndSlope<Vec<T>> active = activate(kKind, load<T>(values.at(row, chunk)));
        store(values.at(row, chunk), active.value);
        store(slopes.at(row, chunk), active.slope);
      }
    }
  }

  // result(row, chunk, left times a matrix that lies at these places of the weights and of the tiles).
  template <typename F>
  FLASHMD_INLINE void product(const Tile<T>& left, int64_t n_inner, int64_t place, int64_t tile_place,
                              int64_t n_columns, const F& result) const {
    const int64_t n_chunks = n_columns / kLanes;
    if constexpr (kMultipliesTiles<T>) {
      if (group_.model.tiles) {
        multiply_tiles(left.data, left.stride, n_rows_, n_inner, group_.model.tiles + tile_place,
                       parts_of(sizes_.storage), n_chunks, reinterpret_cast<uint16_t*>(parts_), products_);
        const Tile<const T> products{products_, kTileSide * kLanes};
        for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
          for (int64_t row = 0; row < n_rows_; ++row) result(row, chunk, load(products.at(row, chunk)));
        }
        return;
      }
    }
    multiply<T, S>(constant(left), n_rows_, n_inner, weights() + place, n_chunks, result);
  }

  // result(row, chunk, input W^T * scale + bias).
  template <typename F>
  FLASHMD_INLINE void forward(const Tile<T>& input, int64_t n_in, const LayerPlace& place, int64_t n_out,
                              const F& result) const {
    const T *scales = constants() + place.scale, *bias = constants() + place.bias;
    product(input, n_in, place.forward, place.forward_tiles, n_out,
            [&](int64_t row, int64_t chunk, const Vec<T>& value) {
              result(row, chunk, value * load(scales + chunk * kLanes) + load(bias + chunk * kLanes));
            });
  }

  // result(row, chunk, scaled gradient W).
  template <typename F>
  FLASHMD_INLINE void backward(const Tile<T>& gradient, int64_t n_out, const LayerPlace& place, int64_t n_in,
                               const F& result) const {
    product(gradient, n_out, place.backward, place.backward_tiles, n_in, result);
  }

  // Copy a gradient, multiplied by the scales of a layer's outputs, to scaled_.
  void scale(const Tile<T>& gradient, int64_t n_out, const LayerPlace& place) const {
    for (int64_t chunk = 0; chunk < n_out / kLanes; ++chunk) {
      const Vec<T> factor = load(constants() + place.scale + chunk * kLanes);
      for (int64_t row = 0; row < n_rows_; ++row) {
        store(scaled_.at(row, chunk), load(gradient.at(row, chunk)) * factor);
      }
    }
  }

  void write_energies(const Tile<T>& input, int64_t width) const {
    const T *weight = constants() + group_.layout.last_weight, bias = constants()[group_.layout.last_bias];
    for (int64_t row = 0; row < n_rows_; ++row) {
      Vec<T> total = splat(T(0));
      for (int64_t chunk = 0; chunk < width / kLanes; ++chunk) {
        total += load(input.at(row, chunk)) * load(weight + chunk * kLanes);
      }
      group_.atom_energy[tile_ * tile_rows_ + row] = sum(total) + bias;
    }
  }

  void pull_back_readout(const Tile<T>* values, const Tile<T>* slopes) const {
    const T* weight = constants() + group_.layout.last_weight;
    if (sizes_.n_hidden == 0) {
      for (int64_t row = 0; row < n_rows_; ++row) copy_row(weight, features(), row, sizes_.n_channels);
      return;
    }
    // values[i] become the gradients by the products of layer i, times the layer's scales.
    const int64_t last = sizes_.n_hidden - 1;
    const T* last_scale = constants() + group_.layout.readout[last].scale;
    for (int64_t chunk = 0; chunk < sizes_.hidden[last] / kLanes; ++chunk) {
      const Vec<T> factor = load(weight + chunk * kLanes) * load(last_scale + chunk * kLanes);
      for (int64_t row = 0; row < n_rows_; ++row) {
        store(values[last].at(row, chunk), load(slopes[last].at(row, chunk)) * factor);
      }
    }
    for (int64_t i = last; i > 0; --i) {
      const T* factor = constants() + group_.layout.readout[i - 1].scale;
      backward(values[i], sizes_.hidden[i], group_.layout.readout[i], sizes_.hidden[i - 1],
               [&](int64_t row, int64_t chunk, const Vec<T>& value) {
                 store(values[i - 1].at(row, chunk),
                       value * load(slopes[i - 1].at(row, chunk)) * load(factor + chunk * kLanes));
               });
    }
    const Tile<T> result = features();
    backward(values[0], sizes_.hidden[0], group_.layout.readout[0], sizes_.n_channels,
             [&](int64_t row, int64_t chunk, const Vec<T>& value) { store(result.at(row, chunk), value); });
  }

  const Group<T>& group_;
  const SchNetSizes& sizes_;
  const int64_t tile_, n_rows_, tile_rows_;
  const Tile<T> hidden_, scaled_;
  T *const readout_, *const products_, *const parts_;
};

}  // namespace flashmd::cpu::FLASHMD_ISA

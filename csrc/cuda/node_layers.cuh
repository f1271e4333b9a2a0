// Dense layers in plain fused multiply-add. A block computes a tile of 64 x 64 numbers from tiles of both factors in
// shared memory, a thread 4 x 4 of them. Every sum runs over the inputs in ascending order, so a row does not depend on
// the rows beside it; libraries of matrix products choose their order by the number of rows.
//
// A layer of 128 to 128 channels takes 33 thousand operations for each atom and reads and writes 1 kB (float32), beside
// the 64 kB of weights that stay in the caches.
#pragma once

#include "node_layers.h"
#include "row_list.h"
#include "warp.cuh"

namespace flashmd::cuda {

constexpr int kTile = 64, kDepth = 16, kPatch = 4;

// Aligned, so that a thread reads its four numbers at once.
template <typename T>
struct alignas(16) Tiles {
  T values[kDepth][kTile + 4];  // transposed; the padding spreads a column over the banks
  T weight[kDepth][kTile];
};

// Load the next `kDepth` inputs of a tile of rows and of a tile of columns; zeros stand outside.
template <typename T>
__device__ void load_tiles(const NodeLayer<T>& layer, int64_t first_row, int32_t first_column, int32_t first_input,
                           Tiles<T>& tiles) {
  for (int item = threadIdx.x; item < kTile * kDepth; item += kThreads) {
    const int64_t row = first_row + item / kDepth;
    const int32_t input = first_input + item % kDepth;
    T value = T(0);
    if (row < layer.n_rows && input < layer.n_in) {
      value = layer.values[row * layer.n_in + input];
      if (layer.activate_input) value = activate(layer.activation, value).value;
    }
    tiles.values[item % kDepth][item / kDepth] = value;
    const int32_t column = first_column + item % kTile, from = first_input + item / kTile;
    const bool inside = column < layer.n_out && from < layer.n_in;
    tiles.weight[item / kTile][item % kTile] = inside ? layer.weight[int64_t{from} * layer.n_out + column] : T(0);
  }
}

template <typename T>
__device__ void store(const NodeLayer<T>& layer, int64_t row, int32_t column, T sum) {
  if (row >= layer.n_rows || column >= layer.n_out) return;
  const int64_t place = row * layer.n_out + column;
  if (layer.bias) sum += layer.bias[column];
  if (layer.residual) sum += layer.residual[place];
  if (layer.gate) sum *= activate(layer.activation, layer.gate[place]).slope;
  layer.out[place] = sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) node_layer_kernel(NodeLayer<T> layer) {
  __shared__ Tiles<T> tiles;
  const int32_t n_columns = (layer.n_out + kTile - 1) / kTile;
  const int64_t first_row = int64_t{blockIdx.x / static_cast<unsigned>(n_columns)} * kTile;
  const int32_t first_column = static_cast<int32_t>(blockIdx.x % static_cast<unsigned>(n_columns)) * kTile;
  const int row = threadIdx.x / (kTile / kPatch) * kPatch, column = threadIdx.x % (kTile / kPatch) * kPatch;
  T sums[kPatch][kPatch] = {};
  for (int32_t input = 0; input < layer.n_in; input += kDepth) {
    load_tiles(layer, first_row, first_column, input, tiles);
    __syncthreads();
    for (int depth = 0; depth < kDepth; ++depth) {
      T left[kPatch], right[kPatch];
      for (int i = 0; i < kPatch; ++i) left[i] = tiles.values[depth][row + i];
      for (int j = 0; j < kPatch; ++j) right[j] = tiles.weight[depth][column + j];
      for (int i = 0; i < kPatch; ++i) {
        for (int j = 0; j < kPatch; ++j) sums[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kPatch; ++i) {
    for (int j = 0; j < kPatch; ++j) store(layer, first_row + row + i, first_column + column + j, sums[i][j]);
  }
}

// A warp for each atom.
template <typename T>
__global__ void node_energy_kernel(NodeEnergy<T> layer) {
  for (int64_t atom = global_thread() / kWarp; atom < layer.n_atoms; atom += grid_size() / kWarp) {
    T sum = T(0);
    for (int32_t input = lane_index(); input < layer.n_in; input += kWarp) {
      const int64_t place = atom * layer.n_in + input;
      ValueAndSlope<T> active{layer.values[place], T(1)};
      if (layer.activate_input) active = activate(layer.activation, layer.values[place]);
      sum += layer.weight[input] * active.value;
      layer.gradient[place] = layer.weight[input] * active.slope;
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) layer.energy[atom] = layer.bias ? sum + layer.bias[0] : sum;
  }
}

template <typename T>
__device__ T sum_of_slices(const T* shares, int32_t n_slices, int64_t stride) {
  T sum = T(0);
  for (int32_t slice = 0; slice < n_slices; ++slice) sum += shares[slice * stride];
  return sum;
}

// A block for each system; its first warp sums over the atoms.
template <typename T>
__global__ void totals_kernel(Totals<T> totals) {
  const int64_t system = blockIdx.x, begin = totals.ptr[system], end = totals.ptr[system + 1];
  const bool usable =
      totals.state[kFound] <= totals.capacity && totals.state[kBadAtom] < 0 && totals.state[kBadSystem] < 0;
  const T factor = usable ? T(1) : T(NAN);
  for (int64_t item = 3 * begin + threadIdx.x; item < 3 * end; item += blockDim.x) {
    totals.forces[item] = factor * sum_of_slices(totals.force_share + item, totals.n_slices, 3 * totals.n_atoms);
  }
  if (warp_index() != 0) return;
  double energy = 0.0;
  for (int64_t atom = begin + lane_index(); atom < end; atom += kWarp) {
    energy += static_cast<double>(totals.atom_energy[atom]);
  }
  energy = warp_sum(energy);
  if (lane_index() == 0) totals.energy[system] = static_cast<double>(factor) * energy;
  if (!totals.virial) return;
  constexpr int kPlaces[6][2] = {{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2}, {1, 2}};
  for (int component = 0; component < 6; ++component) {
    double sum = 0.0;
    for (int64_t atom = begin + lane_index(); atom < end; atom += kWarp) {
      const T* share = totals.virial_share + 6 * atom + component;
      sum += static_cast<double>(sum_of_slices(share, totals.n_slices, 6 * totals.n_atoms));
    }
    sum = static_cast<double>(factor) * warp_sum(sum);
    const int i = kPlaces[component][0], j = kPlaces[component][1];
    if (lane_index() == 0) totals.virial[9 * system + 3 * i + j] = totals.virial[9 * system + 3 * j + i] = sum;
  }
}

}  // namespace flashmd::cuda

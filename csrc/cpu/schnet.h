// Energy and forces of a frozen SchNet whose filters are tables, for a batch of systems on the CPU.
#pragma once

#include <cstdint>

#include "../include/activation.h"
#include "../include/half_types.h"
#include "isa.h"

namespace flashmd::cpu {

// How the matrices of the node layers are stored; scales of channels are stored apart.
enum class Storage : int { full = 0, float16 = 1, bfloat16 = 2, int16 = 3 };

constexpr int kMostReadoutLayers = 8;

// Sizes of a frozen model. Channels, filters and hidden widths are padded with zeros to multiples of 16.
struct SchNetSizes {
  int64_t n_types, n_channels, n_filters, n_blocks, n_intervals;
  int64_t n_hidden;                    // hidden layers of the readout
  int64_t hidden[kMostReadoutLayers];  // their widths
  Activation activation;
  Storage storage;
};

// Read sizes from `count` numbers in the order of pack.py; false where they are none that the kernels serve.
bool read_schnet_sizes(const int64_t* given, int64_t count, SchNetSizes& sizes);

// The arrays of a frozen model, see SchNetLayout for what stands where.
template <typename T>
struct SchNetModel {
  SchNetSizes sizes;
  const void* weights;    // matrices in the type that `storage` names
  const uint16_t* tiles;  // the same as tiles, where these are to be multiplied, or null
  const T* constants;     // embedding, scales, biases, last layer
  const T* table;         // [n_blocks, n_filters / 16, n_intervals + 1, 2, 16]: values, slopes per interval
  T cutoff;               // nm, end of the last interval
};

template <typename T>
struct SchNetBatch {
  const T* positions;       // [n_atoms, 3], nm
  const int64_t* types;     // [n_atoms]
  const int64_t* ptr;       // [n_systems + 1], first atom of each system
  const int32_t* receiver;  // [n_pairs], ascending
  const int32_t* sender;    // [n_pairs]
  const T* image;           // [n_pairs, 3], nm, lattice vector added to the sender, or null
  const int64_t* pair_ptr;  // [n_systems + 1], first pair of each system
};

template <typename T>
struct SchNetResult {
  double* energy;  // [n_systems], kJ/mol
  T* forces;       // [n_atoms, 3], kJ/mol/nm
  double* virial;  // [n_systems, 3, 3], kJ/mol, or null
};

// Consecutive systems that are evaluated together.
struct SchNetGroup {
  int64_t first_system, n_systems;
  int64_t first_atom, n_atoms;
  int64_t first_pair, n_pairs;
};

// Whether a group has enough pairs x channels x blocks to be worth the meeting of threads.
inline bool worth_a_team(const SchNetSizes& sizes, const SchNetGroup& group) {
  constexpr int64_t kTeamWork = 1 << 21;
  return group.n_pairs * sizes.n_filters * sizes.n_blocks > kTeamWork;
}

// Evaluate the systems of one group with so many threads, or with the calling one. All give the same bits. The
// workspace has schnet_workspace_size(...) numbers.
#define FLASHMD_DECLARE(isa)                                                                               \
  namespace isa {                                                                                          \
  template <typename T>                                                                                    \
  void evaluate_schnet(const SchNetModel<T>& model, const SchNetBatch<T>& batch, const SchNetGroup& group, \
                       const SchNetResult<T>& result, T* workspace, int64_t n_threads);                    \
  }
FLASHMD_ISA_NAMESPACES(FLASHMD_DECLARE)
#undef FLASHMD_DECLARE

// Numbers that a group of this size needs as workspace with so many threads, that all matrices take, in tiles or not,
// and all constants.
template <typename T>
int64_t schnet_workspace_size(const SchNetModel<T>& model, int64_t n_atoms, int64_t n_pairs, int64_t n_threads);
int64_t schnet_tiles_size(const SchNetSizes& sizes);
int64_t schnet_weights_size(const SchNetSizes& sizes);
int64_t schnet_constants_size(const SchNetSizes& sizes);

}  // namespace flashmd::cpu

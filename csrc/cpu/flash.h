// Continuous-filter convolution that computes its filters tile by tile and stores none of them, with its derivatives of
// first and second order; the formulas stand beside the wrapper in flashmd/ops/flash_cfconv.py.
//
// Pairs are those of a half list: both atoms of a pair send. Arrays are row-major. Only sums over a bounded number of
// pairs and scratch of bounded size are kept, so memory grows with atoms and pairs, not with pairs times channels.
#pragma once

#include "../include/activation.h"
#include "../include/basis.h"
#include "isa.h"

namespace flashmd::cpu {

struct FlashForm {
  BasisForm basis;
  EnvelopeForm envelope;
  Activation activation;
};

// A filter network, or a direction in the space of its parameters with null for parts that are zero.
template <typename T>
struct FlashWeights {
  const T* centres;     // [n_basis]
  const T* widths;      // [n_basis]
  const T* weight_in;   // [n_filters, n_basis]
  const T* bias_in;     // [n_filters]
  const T* weight_out;  // [n_filters, n_filters]
};

struct FlashSizes {
  int64_t n_atoms, n_pairs, n_filters, n_basis;
};

template <typename T>
struct FlashInput {
  FlashSizes sizes;
  const int64_t* receiver;  // [n_pairs]
  const int64_t* sender;    // [n_pairs]
  const T* distance;        // [n_pairs]
  FlashWeights<T> weights;
  FlashForm form;
  T* scratch;       // [flash_scratch(sizes)]
  int64_t* active;  // [n_pairs], scratch for the pairs within the cutoff
};

// A direction in the space of features, distances and parameters.
template <typename T>
struct FlashDirection {
  const T* features;  // [n_atoms, n_filters]
  const T* distance;  // [n_pairs]
  FlashWeights<T> weights;
};

// Results; null where they are not wanted.
template <typename T>
struct FlashGradients {
  T* features;    // [n_atoms, n_filters]
  T* distance;    // [n_pairs]
  T* centres;     // [n_basis], wanted together with the widths
  T* widths;      // [n_basis]
  T* weight_in;   // [n_filters, n_basis], wanted together with bias and outer weights
  T* bias_in;     // [n_filters]
  T* weight_out;  // [n_filters, n_filters]
};

// Pairs whose filters exist at one time; they are cut into slots of tiles. The sums over pairs that weights need are
// those of the slots, so they do not depend on the number of threads.
constexpr int64_t kFlashTile = 48, kFlashTilesOfSlot = 2, kFlashSlots = 16;
constexpr int64_t kFlashPairs = kFlashTile * kFlashTilesOfSlot * kFlashSlots;

// Numbers of scratch that any of the functions needs.
int64_t flash_scratch(const FlashSizes& sizes);

#define FLASHMD_DECLARE_FLASH(ISA)                                                                                 \
  namespace ISA {                                                                                                  \
  template <typename T>                                                                                            \
  void flash_cfconv(const FlashInput<T>& input, const T* features, T* out);                                        \
  template <typename T>                                                                                            \
  void flash_cfconv_backward(const FlashInput<T>& input, const T* grad, const T* features,                         \
                             const FlashGradients<T>& gradients);                                                  \
  template <typename T>                                                                                            \
  void flash_cfconv_double_backward(const FlashInput<T>& input, const FlashDirection<T>& direction, const T* grad, \
                                    const T* features, T* by_grad, const FlashGradients<T>& gradients);            \
  }
FLASHMD_ISA_NAMESPACES(FLASHMD_DECLARE_FLASH)
#undef FLASHMD_DECLARE_FLASH

}  // namespace flashmd::cpu

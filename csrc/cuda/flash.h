// Convolution with filters recomputed for a bounded number of pairs at a time, and its gradient for features and
// distances, on the GPU; the formulas stand beside the wrapper in flashmd/ops/flash_cfconv.py.
#pragma once

#include "../include/activation.h"
#include "../include/basis.h"
#include "launchers.h"

namespace flashmd::cuda {

// Weights are given by inner index, so that neighbouring threads read neighbouring channels.
template <typename T>
struct FlashFilters {
  Graph graph;
  const T* distance;  // [n_pairs]
  BasisForm basis;
  EnvelopeForm envelope;
  Activation activation;
  const T* centres;  // [n_basis]
  const T* widths;   // [n_basis]
  const T* in;       // [n_basis, n_filters]
  const T* bias;     // [n_filters]
  const T* out;      // [n_filters, n_filters]
  int64_t n_filters, n_basis;
};

// Pairs whose filters exist at one time.
constexpr int64_t kFlashPairs = 32768;

// Filters of the pairs [begin, end), envelope included; [end - begin, n_filters].
template <typename T>
void flash_filters(const FlashFilters<T>& problem, int64_t begin, int64_t end, T* filters, Stream stream);

// The same, and for each pair the sum over channels of (g_r x_s + g_s x_r) times the slope of the filter, into slopes
// [n_pairs]. Null filters are not written.
template <typename T>
void flash_slopes(const FlashFilters<T>& problem, const T* grad, const T* features, int64_t begin, int64_t end,
                  T* filters, T* slopes, Stream stream);

// Add the messages of the pairs [begin, end), both ways, to out [n_atoms, n_filters].
template <typename T>
void flash_messages(const Graph& graph, const T* filters, const T* features, int64_t begin, int64_t end,
                    int64_t n_filters, T* out, Stream stream);

}  // namespace flashmd::cuda

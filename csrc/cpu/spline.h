// Convolution with filters that are cubic in each interval of the distance, and its first and second derivatives.
//
// A pair (t, s) at the fraction u of interval i has, in every channel, the filter W(u) that meets the values and slopes
// of the table at the knots i and i + 1. Both atoms send over it: a_t += x_s W, a_s += x_t W.
#pragma once

#include <cstdint>

#include "isa.h"

namespace flashmd::cpu {

// Pairs sorted by group, then interval, then place in the list. Those beyond the cutoff have the interval n_intervals
// and end their group; they are never read. Groups are runs of atoms that no pair connects with others.
struct SplinePairs {
  const int32_t* receiver;    // [n_pairs]
  const int32_t* sender;      // [n_pairs]
  const int32_t* interval;    // [n_pairs]
  const int32_t* first_atom;  // [n_groups + 1]
  const int32_t* first_pair;  // [n_groups + 1]
  int64_t n_pairs, n_atoms, n_groups, n_intervals;
};

// Numbers of a table, or their gradients, [n_intervals + 1, n_channels] each; null where there are none.
template <typename N>
struct SplineKnots {
  N* values;
  N* slopes;
};

// What all kernels read. Features and gradients are [n_atoms, n_channels], fractions [n_pairs] in the order of the
// sorted pairs; `spacing` is the width of an interval.
template <typename T>
struct SplineInput {
  SplinePairs pairs;
  int64_t n_channels;
  const T* grad;  // of the convolution's result; null in the convolution itself
  const T* features;
  const T* fraction;
  SplineKnots<const T> table;
  T spacing;
};

// Gradients with respect to the input, in its shapes; null where not wanted.
template <typename T>
struct SplineOutput {
  T* grad;
  T* features;
  T* fraction;
  SplineKnots<T> table;
};

// Cotangents of the first derivatives with respect to features, fractions and table; null where zero.
template <typename T>
struct SplineCotangent {
  const T* features;
  const T* fraction;
  SplineKnots<const T> table;
};

// Channels are worked on sixteen at a time. `chunks` holds `n_arrays` arrays [n_chunks][n_atoms][16], `partial` one
// [n_chunks][n_pairs].
template <typename T>
struct SplineWorkspace {
  T* chunks;
  T* partial;
};

constexpr int64_t kSplineLanes = 16;
inline int64_t spline_chunks(int64_t n_channels) {
  return (n_channels + kSplineLanes - 1) / kSplineLanes;
}

// Arrays of the workspace that the kernels use.
constexpr int64_t kConvolveArrays = 2, kFirstArrays = 3, kSecondArrays = 5;

struct SplineSortInput {
  const int64_t* receiver;  // [n_pairs], ascending
  const int64_t* sender;    // [n_pairs]
  int64_t n_pairs, n_atoms, n_intervals;
  double cutoff;
};

// index: [4, n_pairs], receiver, sender, interval and place in the list of the sorted pairs.
// groups: [2, n_atoms + 2], first atom and first pair of each group, closed and filled up by the ends.
template <typename T>
void spline_sort(const T* distance, const SplineSortInput& input, int32_t* index, int32_t* groups);

// Number of groups in the array that spline_sort wrote.
int64_t spline_groups(const int32_t* groups, int64_t n_atoms);

#define FLASHMD_DECLARE(ISA)                                                                                           \
  namespace ISA {                                                                                                      \
  template <typename T>                                                                                                \
  void spline_convolve(const SplineInput<T>& input, const SplineWorkspace<T>& work, T* out);                           \
  template <typename T>                                                                                                \
  void spline_first(const SplineInput<T>& input, const SplineWorkspace<T>& work, const SplineOutput<T>& out);          \
  template <typename T>                                                                                                \
  void spline_second(const SplineInput<T>& input, const SplineCotangent<T>& cotangent, const SplineWorkspace<T>& work, \
                     const SplineOutput<T>& out);                                                                      \
  }
FLASHMD_ISA_NAMESPACES(FLASHMD_DECLARE)
#undef FLASHMD_DECLARE

}  // namespace flashmd::cpu

// Convolution with tabulated filters in training, and its first and second derivatives; see flashmd/ops/spline_conv.py
// for the formulas. One entry for each pair serves both directions.
#pragma once

#include "launchers.h"

namespace flashmd::cuda {

// Pairs sorted by interval; those beyond the cutoff have the interval n_knots - 1 and stand at the end. The pairs of
// atom i, in the places that the sorting gave them, are of_atom[first[i] .. first[i + 1]].
struct SplinePairs {
  const int32_t* receiver;  // [n_pairs]
  const int32_t* sender;    // [n_pairs]
  const int32_t* interval;  // [n_pairs]
  const int32_t* of_atom;   // [2 n_pairs]
  const int32_t* first;     // [n_atoms + 1]
  int64_t n_pairs, n_atoms;
};

// Values and slopes, or cotangents of them, [n_knots, n_channels]; null where they are zero.
template <typename T>
struct SplineTable {
  const T* values;
  const T* slopes;
};

// Numbers that the results are made of; null where they are zero. `along` and `dot_*` are a direction: in the second
// derivative the cotangents of the first one, in the first derivative `along` is the features themselves.
template <typename T>
struct SplineTerms {
  SplinePairs pairs;
  int64_t n_channels, n_knots;
  T spacing;
  const T* fraction;  // [n_pairs]
  SplineTable<T> table;
  const T* grad;          // [n_atoms, n_channels]
  const T* features;      // [n_atoms, n_channels]
  const T* along;         // [n_atoms, n_channels]
  const T* dot_fraction;  // [n_pairs]
  SplineTable<T> dot_table;
};

// out_i = sum of filter * plain_j + (change of the filter) * changed_j over the pairs of atom i.
template <typename T>
void spline_gather(const SplineTerms<T>& terms, const T* plain, const T* changed, T* out, Stream stream);
template <typename T>
void spline_to_fraction(const SplineTerms<T>& terms, T* out, Stream stream);
template <typename T>
void spline_to_table(const SplineTerms<T>& terms, T* values, T* slopes, Stream stream);

}  // namespace flashmd::cuda

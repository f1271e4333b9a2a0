// Convolution with tabulated filters in training. A lane works on one channel and computes filters from the table again
// wherever they are needed. Sums over the pairs of an atom and over the pairs of an interval run in the order of the
// sorted pairs, each in one thread: nothing is added up in memory and no result depends on the run.
//
// Per pair and channel in float32, from the caches: 40 bytes and 36 operations for the convolution (both directions)
// and for the gradient with respect to the features, 32 bytes for each of those with respect to table and distance.
#pragma once

#include "../include/hermite.h"
#include "spline_training.h"
#include "warp.cuh"

namespace flashmd::cuda {

// The numbers of a table at both ends of an interval, for one channel; slopes are those by the fraction.
template <typename T>
__device__ HermiteWeights<T> knots_of(const SplineTable<T>& table, const SplineTerms<T>& terms, int32_t interval,
                                      int64_t channel) {
  if (!table.values) return {T(0), T(0), T(0), T(0)};
  const int64_t low = interval * terms.n_channels + channel, high = low + terms.n_channels;
  return {table.values[low], terms.spacing * table.slopes[low], table.values[high], terms.spacing * table.slopes[high]};
}

template <typename T>
__device__ T dot(const HermiteWeights<T>& weights, const HermiteWeights<T>& knots) {
  return weights.v0 * knots.v0 + weights.m0 * knots.m0 + weights.v1 * knots.v1 + weights.m1 * knots.m1;
}

template <typename T>
__device__ T or_zero(const T* values, int64_t place) {
  return values ? values[place] : T(0);
}

// The product of gradient and features over both directions of a pair.
template <typename T>
__device__ T pair_product(const T* grad, const T* features, int64_t receiver, int64_t sender) {
  return features ? grad[receiver] * features[sender] + grad[sender] * features[receiver] : T(0);
}

// A warp for each atom and slice of 32 channels.
template <typename T>
__global__ void spline_gather_kernel(SplineTerms<T> terms, int64_t n_slices, const T* plain, const T* changed, T* out) {
  const SplinePairs& pairs = terms.pairs;
  for (int64_t task = global_thread() / kWarp; task < pairs.n_atoms * n_slices; task += grid_size() / kWarp) {
    const int64_t atom = task / n_slices, channel = task % n_slices * kWarp + lane_index();
    if (channel >= terms.n_channels) continue;
    T sum = T(0);
    for (int32_t k = pairs.first[atom]; k < pairs.first[atom + 1]; ++k) {
      const int32_t pair = pairs.of_atom[k], interval = pairs.interval[pair];
      if (interval >= terms.n_knots - 1) continue;
      const int32_t receiver = pairs.receiver[pair];
      const int64_t other = receiver == atom ? pairs.sender[pair] : receiver;
      const int64_t place = other * terms.n_channels + channel;
      const HermiteWeights<T> knots = knots_of(terms.table, terms, interval, channel);
      const HermiteWeights<T> weights = hermite_weights(terms.fraction[pair]);
      if (plain) sum += dot(weights, knots) * plain[place];
      if (changed) {
        T change = dot(weights, knots_of(terms.dot_table, terms, interval, channel));
        change += or_zero(terms.dot_fraction, pair) * dot(hermite_slope_weights(terms.fraction[pair]), knots);
        sum += change * changed[place];
      }
    }
    out[atom * terms.n_channels + channel] = sum;
  }
}

// A warp for each pair.
template <typename T>
__global__ void spline_fraction_kernel(SplineTerms<T> terms, T* out) {
  const SplinePairs& pairs = terms.pairs;
  const bool second = terms.dot_fraction || terms.dot_table.values;
  for (int64_t pair = global_thread() / kWarp; pair < pairs.n_pairs; pair += grid_size() / kWarp) {
    const int32_t interval = pairs.interval[pair];
    const int64_t receiver = pairs.receiver[pair] * terms.n_channels, sender = pairs.sender[pair] * terms.n_channels;
    const T u = terms.fraction[pair];
    T sum = T(0);
    for (int64_t c = lane_index(); interval < terms.n_knots - 1 && c < terms.n_channels; c += kWarp) {
      const HermiteWeights<T> knots = knots_of(terms.table, terms, interval, c);
      const T slope = dot(hermite_slope_weights(u), knots);
      sum += pair_product(terms.grad, terms.along, receiver + c, sender + c) * slope;
      if (second) {
        T change = or_zero(terms.dot_fraction, pair) * dot(hermite_curvature_weights(u), knots);
        change += dot(hermite_slope_weights(u), knots_of(terms.dot_table, terms, interval, c));
        sum += pair_product(terms.grad, terms.features, receiver + c, sender + c) * change;
      }
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) out[pair] = sum;
  }
}

// The first of the sorted pairs whose interval is at least `interval`.
__device__ inline int64_t first_pair_of(const SplinePairs& pairs, int64_t interval) {
  int64_t low = 0, high = pairs.n_pairs;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (pairs.interval[middle] < interval) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// A warp for each knot and slice of 32 channels; it adds up the pairs of the intervals on both sides of the knot.
template <typename T>
__global__ void spline_table_kernel(SplineTerms<T> terms, int64_t n_slices, T* values, T* slopes) {
  const SplinePairs& pairs = terms.pairs;
  for (int64_t task = global_thread() / kWarp; task < terms.n_knots * n_slices; task += grid_size() / kWarp) {
    const int64_t knot = task / n_slices, channel = task % n_slices * kWarp + lane_index();
    if (channel >= terms.n_channels) continue;
    const int64_t begin = first_pair_of(pairs, knot - 1);
    const int64_t end = first_pair_of(pairs, knot < terms.n_knots - 1 ? knot + 1 : knot);
    T value = T(0), slope = T(0);
    for (int64_t pair = begin; pair < end; ++pair) {
      const int64_t receiver = pairs.receiver[pair] * terms.n_channels + channel;
      const int64_t sender = pairs.sender[pair] * terms.n_channels + channel;
      const bool left = pairs.interval[pair] == knot;
      const HermiteWeights<T> weights = hermite_weights(terms.fraction[pair]);
      const T along = pair_product(terms.grad, terms.along, receiver, sender);
      value += along * (left ? weights.v0 : weights.v1);
      slope += along * (left ? weights.m0 : weights.m1);
      if (terms.dot_fraction) {
        const HermiteWeights<T> change = hermite_slope_weights(terms.fraction[pair]);
        const T product = terms.dot_fraction[pair] * pair_product(terms.grad, terms.features, receiver, sender);
        value += product * (left ? change.v0 : change.v1);
        slope += product * (left ? change.m0 : change.m1);
      }
    }
    values[knot * terms.n_channels + channel] = value;
    slopes[knot * terms.n_channels + channel] = terms.spacing * slope;
  }
}

}  // namespace flashmd::cuda

// One tile of pairs: basis, filter network, envelope, and the way back. In the second order every layer carries its
// derivative along the direction of the differentiation in rows of its own.
#pragma once

#include "flash_plan.h"

namespace flashmd::cpu::FLASHMD_ISA {

// Numbers of a pair in `TileScratch::shared`.
enum Shared { kCoordinate = 0, kBasisEnvelope = 3, kEnvelope = 6, kAlong = 9 };

template <typename T>
struct TileTask {
  const Plan<T>& plan;
  const TileScratch<T>& scratch;
  SlotSums<T> sums;
  int64_t first;  // of the active pairs
  int64_t n_pairs;
  int64_t at;  // row of the filters of this tile in those of all tiles

  FLASHMD_INLINE Vec<T> number(int what, int64_t row) const { return splat(scratch.shared[what * kRows + row]); }
  FLASHMD_INLINE Jet<Vec<T>> jet(int what, int64_t row) const {
    return {number(what, row), number(what + 1, row), number(what + 2, row)};
  }
  FLASHMD_INLINE BasisRow<Vec<T>> basis_row_of(int64_t row) const {
    return {jet(kCoordinate, row), jet(kBasisEnvelope, row)};
  }
  FLASHMD_INLINE BasisTerms<Vec<T>> way(int64_t row, int64_t chunk) const {
    const Vec<T> zero = splat(T(0));
    const T *centres = plan.turn.centres, *widths = plan.turn.widths;
    return {zero, number(kAlong, row), centres ? load(centres + chunk * kLanes) : zero,
            widths ? load(widths + chunk * kLanes) : zero};
  }
  FLASHMD_INLINE Tile<T> tile(T* data) const { return {data, plan.n_rows() * kLanes}; }
  FLASHMD_INLINE Tile<const T> tile_of(const T* data, int64_t first_row = 0) const {
    return {data + first_row * kLanes, plan.n_rows() * kLanes};
  }
};

template <typename T>
FLASHMD_INLINE void keep_jet(const Jet<Vec<T>>& jet, T* to) {
  store(to, jet.value);
  store(to + kRows, jet.slope);
  store(to + 2 * kRows, jet.curvature);
}

// Coordinate and envelopes; rows behind the last pair lie beyond the cutoff and give zeros.
template <typename T>
FLASHMD_INLINE void share_numbers(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  T* shared = task.scratch.shared;
  const T beyond = T(2.0 * plan.form.envelope.upper);
  for (int64_t first = 0; first < kRows; first += kLanes) {
    T distance[kLanes], along[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      const bool real = first + i < task.n_pairs;
      const int64_t pair = real ? plan.active[task.first + first + i] : 0;
      distance[i] = real ? plan.distance[pair] : beyond;
      along[i] = real && plan.order == 2 ? plan.direction[pair] : T(0);
    }
    const Vec<T> d = load(distance);
    const BasisRow<Vec<T>> row = basis_row(plan.form.basis, d);
    keep_jet(row.coordinate, shared + kCoordinate * kRows + first);
    keep_jet(row.envelope, shared + kBasisEnvelope * kRows + first);
    keep_jet(envelope(plan.form.envelope, d), shared + kEnvelope * kRows + first);
    store(shared + kAlong * kRows + first, load(along));
  }
}

template <typename T>
FLASHMD_INLINE void expand(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const Tile<T> basis = task.tile(task.scratch.basis);
  for (int64_t row = 0; row < kRows; ++row) {
    const BasisRow<Vec<T>> shared = task.basis_row_of(row);
    for (int64_t chunk = 0; chunk < plan.n_basis / kLanes; ++chunk) {
      const Vec<T> centre = load(plan.network.centres + chunk * kLanes);
      const Vec<T> width = load(plan.network.widths + chunk * kLanes);
      Vec<T> value, slope;
      basis_value_and_slope(shared, centre, width, value, slope);
      store(basis.at(row, chunk), value);
      if (plan.order < 2) continue;
      const Vec<T> turned = plan.turned ? basis_curvature(shared, centre, width, task.way(row, chunk)).value
                                        : slope * task.number(kAlong, row);
      store(basis.at(kRows + row, chunk), turned);
    }
  }
}

// to = left times right for a number of rows; onto what `to` holds already in the rows [begin, end). One copy of this
// function serves all layers: inlined into each, the products would take minutes to compile.
template <typename T>
__attribute__((noinline)) void product(const Tile<const T>& left, int64_t n_rows, int64_t n_inner, const T* right,
                                       int64_t n_outer, const Tile<T>& to, int64_t begin, int64_t end) {
  multiply(left, n_rows, n_inner, right, n_outer / kLanes,
           [&](int64_t row, int64_t chunk, const Vec<T>& sum) FLASHMD_INLINE_BODY {
             T* at = to.at(row, chunk);
             store(at, row >= begin && row < end ? sum + load(at) : sum);
           });
}

// What a layer adds to 48 of its rows where its weights have a part in the direction: the rows of `left` times the
// direction of the weights. The derivatives follow the values, so `part` is 1 on the way forth and 0 on the way back.
template <typename T>
FLASHMD_INLINE void layer(const TileTask<T>& task, const T* left, int64_t n_inner, const T* right, const T* turn,
                          int64_t n_outer, T* to, int64_t part) {
  const Plan<T>& plan = task.plan;
  const Tile<T> rows = task.tile(to);
  const int64_t begin = part * kRows, end = plan.turned ? begin + kRows : begin;
  if (plan.turned && turn) {
    product(task.tile_of(left, (1 - part) * kRows), kRows, n_inner, turn, n_outer,
            Tile<T>{rows.at(begin, 0), rows.stride}, 0, 0);
  } else if (plan.turned) {
    for (int64_t chunk = 0; chunk < n_outer / kLanes; ++chunk) {
      for (int64_t row = begin; row < end; ++row) store(rows.at(row, chunk), splat(T(0)));
    }
  }
  product(task.tile_of(left), plan.n_rows(), n_inner, right, n_outer, rows, begin, end);
}

// Basis to hidden layer, with the derivatives of the activation.
template <typename T>
FLASHMD_INLINE void hide(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const Tile<T> hidden = task.tile(task.scratch.hidden);
  const Tile<T> slope{task.scratch.slope, kRows * kLanes}, bend{task.scratch.bend, kRows * kLanes};
  layer(task, task.scratch.basis, plan.n_basis, plan.network.in, plan.turn.in, plan.n_filters, hidden.data, 1);
  for (int64_t chunk = 0; chunk < plan.n_filters / kLanes; ++chunk) {
    const Vec<T> bias = load(plan.network.bias + chunk * kLanes);
    const Vec<T> turn = plan.turn.bias ? load(plan.turn.bias + chunk * kLanes) : splat(T(0));
    for (int64_t row = 0; row < kRows; ++row) {
      const Jet<Vec<T>> value = activate_twice(plan.form.activation, load(hidden.at(row, chunk)) + bias);
      store(hidden.at(row, chunk), value.value);
      store(slope.at(row, chunk), value.slope);
      if (plan.order < 2) continue;
      const Vec<T> inner = load(hidden.at(kRows + row, chunk)) + turn;
      store(hidden.at(kRows + row, chunk), value.slope * inner);
      store(bend.at(row, chunk), value.curvature * inner);
    }
  }
}

// Hidden layer to filter, without the envelope.
template <typename T>
FLASHMD_INLINE void filter(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  layer(task, task.scratch.hidden, plan.n_filters, plan.network.out, plan.turn.out, plan.n_filters, task.scratch.filter,
        1);
}

// Multiply by the envelope for the sums over pairs.
template <typename T>
FLASHMD_INLINE void keep_filters(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const Tile<T> filters = task.tile(task.scratch.filter);
  for (int64_t chunk = 0; chunk < plan.n_filters / kLanes; ++chunk) {
    T* to = plan.filters + (chunk * kFlashPairs + task.at) * kLanes;
    T* turned = plan.turned_filters + (chunk * kFlashPairs + task.at) * kLanes;
    for (int64_t row = 0; row < kRows; ++row) {
      const Jet<Vec<T>> factor = task.jet(kEnvelope, row);
      const Vec<T> value = load(filters.at(row, chunk));
      store(to + row * kLanes, factor.value * value);
      if (plan.order < 2) continue;
      const Vec<T> change = factor.slope * task.number(kAlong, row);
      store(turned + row * kLanes, factor.value * load(filters.at(kRows + row, chunk)) + change * value);
    }
  }
}

// Gradients of the filters: the products of the ends of the pairs.
template <typename T>
FLASHMD_INLINE void multiply_ends(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const Tile<T> filters = task.tile(task.scratch.filter), by_filter = task.tile(task.scratch.by_filter);
  const Tile<const T> x{plan.features, plan.n_atoms * kLanes}, g{plan.grad, plan.n_atoms * kLanes};
  const Tile<const T> v{plan.along, plan.n_atoms * kLanes};
  for (int64_t i = 0; i < kRows * kLanes; ++i) task.scratch.dots[i] = T(0);
  for (int64_t chunk = 0; chunk < plan.n_filters / kLanes; ++chunk) {
    for (int64_t row = task.n_pairs; row < plan.n_rows(); ++row) store(by_filter.at(row, chunk), splat(T(0)));
    for (int64_t row = 0; row < task.n_pairs; ++row) {
      const int64_t pair = plan.active[task.first + row], r = plan.receiver[pair], s = plan.sender[pair];
      const Jet<Vec<T>> factor = task.jet(kEnvelope, row);
      const Vec<T> gr = load(g.at(r, chunk)), gs = load(g.at(s, chunk));
      const Vec<T> ends = gr * load(x.at(s, chunk)) + gs * load(x.at(r, chunk));
      const Vec<T> value = load(filters.at(row, chunk));
      T* dot = task.scratch.dots + row * kLanes;
      if (plan.order == 1) {
        store(by_filter.at(row, chunk), factor.value * ends);
        store(dot, load(dot) + factor.slope * (ends * value));
        continue;
      }
      const Vec<T> turned_ends = gr * load(v.at(s, chunk)) + gs * load(v.at(r, chunk));
      const Vec<T> along = task.number(kAlong, row), change = along * factor.slope;
      store(by_filter.at(row, chunk), factor.value * turned_ends + change * ends);
      store(by_filter.at(kRows + row, chunk), factor.value * ends);
      const Vec<T> inner = turned_ends * value + ends * load(filters.at(kRows + row, chunk));
      store(dot, load(dot) + factor.slope * inner + (along * factor.curvature) * (ends * value));
    }
  }
}

// Filter to hidden layer, backwards through the activation, and the sums for the bias.
template <typename T>
FLASHMD_INLINE void unhide(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const Tile<T> by_hidden = task.tile(task.scratch.by_hidden);
  const Tile<T> slope{task.scratch.slope, kRows * kLanes}, bend{task.scratch.bend, kRows * kLanes};
  layer(task, task.scratch.by_filter, plan.n_filters, plan.network.out_back, plan.turn.out_back, plan.n_filters,
        by_hidden.data, 0);
  for (int64_t chunk = 0; chunk < plan.n_filters / kLanes; ++chunk) {
    Vec<T> total = load(task.sums.bias + chunk * kLanes);
    for (int64_t row = 0; row < kRows; ++row) {
      const Vec<T> steepness = load(slope.at(row, chunk));
      Vec<T> inner = steepness * load(by_hidden.at(row, chunk));
      if (plan.order == 2) {
        const Vec<T> turned = load(by_hidden.at(kRows + row, chunk));
        inner += load(bend.at(row, chunk)) * turned;
        store(by_hidden.at(kRows + row, chunk), steepness * turned);
      }
      store(by_hidden.at(row, chunk), inner);
      total += inner;
    }
    store(task.sums.bias + chunk * kLanes, total);
  }
}

// Hidden layer to distances and parameters of the basis.
template <typename T>
FLASHMD_INLINE void unexpand(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const Tile<T> by_basis = task.tile(task.scratch.by_basis);
  layer(task, task.scratch.by_hidden, plan.n_filters, plan.network.in_back, plan.turn.in_back, plan.n_basis,
        by_basis.data, 0);
  for (int64_t row = 0; row < kRows; ++row) {
    const BasisRow<Vec<T>> shared = task.basis_row_of(row);
    Vec<T> dot = load(task.scratch.dots + row * kLanes);
    for (int64_t chunk = 0; chunk < plan.n_basis / kLanes; ++chunk) {
      const Vec<T> centre = load(plan.network.centres + chunk * kLanes);
      const Vec<T> width = load(plan.network.widths + chunk * kLanes);
      const BasisTerms<Vec<T>> terms = basis_gradient(shared, centre, width);
      T *by_centre = task.sums.centres + chunk * kLanes, *by_width = task.sums.widths + chunk * kLanes;
      const Vec<T> factor = load(by_basis.at(row, chunk));
      dot += factor * terms.distance;
      store(by_centre, load(by_centre) + factor * terms.centre);
      store(by_width, load(by_width) + factor * terms.width);
      if (plan.order < 2) continue;
      const BasisTerms<Vec<T>> turned = basis_curvature(shared, centre, width, task.way(row, chunk));
      const Vec<T> turned_factor = load(by_basis.at(kRows + row, chunk));
      dot += turned_factor * turned.distance;
      store(by_centre, load(by_centre) + turned_factor * turned.centre);
      store(by_width, load(by_width) + turned_factor * turned.width);
    }
    store(task.scratch.dots + row * kLanes, dot);
  }
}

// sums += transposed left times right.
template <typename T>
__attribute__((noinline)) void sum_product(const Tile<const T>& left, int64_t n_columns, const Tile<const T>& right,
                                           int64_t n_chunks, int64_t n_rows, const Tile<T>& sums) {
  accumulate_product(left, n_columns, right, n_chunks, n_rows, sums);
}

template <typename T>
FLASHMD_INLINE void run_tile(const TileTask<T>& task) {
  const Plan<T>& plan = task.plan;
  const int64_t n_filters = plan.n_filters, n_basis = plan.n_basis;
  share_numbers(task);
  expand(task);
  hide(task);
  filter(task);
  if (plan.by_features) keep_filters(task);
  if (!plan.reverse()) return;
  multiply_ends(task);
  unhide(task);
  if (plan.by_weights) {
    const Tile<T> by_out{task.sums.out, n_filters * kLanes}, by_in{task.sums.in, n_filters * kLanes};
    sum_product(task.tile_of(task.scratch.by_filter), n_filters, task.tile_of(task.scratch.hidden), n_filters / kLanes,
                plan.n_rows(), by_out);
    sum_product(task.tile_of(task.scratch.by_hidden), n_filters, task.tile_of(task.scratch.basis), n_basis / kLanes,
                plan.n_rows(), by_in);
  }
  if (!plan.by_distance && !plan.by_basis) return;
  unexpand(task);
  if (!plan.by_distance) return;
  for (int64_t row = 0; row < task.n_pairs; ++row) {
    plan.by_pair[plan.active[task.first + row]] = sum(load(task.scratch.dots + row * kLanes));
  }
}

}  // namespace flashmd::cpu::FLASHMD_ISA

// Radial basis functions in one pass: what the functions of a row share is computed for sixteen rows at a time, then
// sixteen functions of a row at a time.

#include "../basis.h"

#include "parts.h"

namespace flashmd::cpu::FLASHMD_ISA {
namespace {

// Coordinates and envelopes of sixteen rows, one row at a time.
template <typename T>
class Rows16 {
public:
  FLASHMD_INLINE Rows16(const BasisInput<T>& input, int64_t first) {
    const BasisRow<Vec<T>> rows = basis_row(input.form, load_part(input.distance + first, input.n_rows - first));
    keep(rows.coordinate, 0);
    keep(rows.envelope, 3);
  }
  FLASHMD_INLINE BasisRow<Vec<T>> row(int64_t i) const { return {jet(i, 0), jet(i, 3)}; }

private:
  FLASHMD_INLINE void keep(const Jet<Vec<T>>& jet, int at) {
    store(numbers_[at], jet.value);
    store(numbers_[at + 1], jet.slope);
    store(numbers_[at + 2], jet.curvature);
  }
  FLASHMD_INLINE Jet<Vec<T>> jet(int64_t i, int at) const {
    return {splat(numbers_[at][i]), splat(numbers_[at + 1][i]), splat(numbers_[at + 2][i])};
  }
  T numbers_[6][kLanes];
};

// Call body(row, shared numbers of the row) for the rows of a range.
template <typename T, typename F>
FLASHMD_INLINE void for_rows(const BasisInput<T>& input, int64_t begin, int64_t end, const F& body) {
  for (int64_t first = begin; first < end; first += kLanes) {
    const Rows16<T> rows(input, first);
    const int64_t count = end - first < kLanes ? end - first : kLanes;
    for (int64_t i = 0; i < count; ++i) body(first + i, rows.row(i));
  }
}

// Add the gradient terms(row, shared, k) of every function over the rows of a block.
template <typename T, typename F>
FLASHMD_INLINE void sum_block(const BasisInput<T>& input, int64_t block, const BasisSums<T>& sums, const F& terms) {
  const int64_t begin = block * kBasisBlock;
  const int64_t end = begin + kBasisBlock < input.n_rows ? begin + kBasisBlock : input.n_rows;
  T* by_centre = sums.parameters ? sums.partial + block * 2 * input.n_padded : nullptr;
  T* by_width = by_centre + input.n_padded;
  for (int64_t k = 0; by_centre && k < 2 * input.n_padded; ++k) by_centre[k] = T(0);
  for_rows(input, begin, end, [&](int64_t row, const BasisRow<Vec<T>>& shared) FLASHMD_INLINE_BODY {
    Vec<T> total = splat(T(0));
    for (int64_t k = 0; k < input.n_basis; k += kLanes) {
      const BasisTerms<Vec<T>> term = terms(row, shared, k);
      total += term.distance;
      if (by_centre) {
        store(by_centre + k, load(by_centre + k) + term.centre);
        store(by_width + k, load(by_width + k) + term.width);
      }
    }
    sums.distance[row] = sum(total);
  });
}

template <typename T, typename F>
FLASHMD_INLINE void sum_all(const BasisInput<T>& input, const BasisSums<T>& sums, const F& terms) {
  const int64_t n_blocks = basis_blocks(input.n_rows);
  parallel_for(n_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) sum_block(input, block, sums, terms);
  });
  if (!sums.parameters) return;
  const int64_t size = 2 * input.n_padded;
  for (int64_t k = 0; k < size; ++k) sums.parameters[k] = T(0);
  for (int64_t block = 0; block < n_blocks; ++block) {
    for (int64_t k = 0; k < size; ++k) sums.parameters[k] += sums.partial[block * size + k];
  }
}

}  // namespace

template <typename T>
void radial_basis(const BasisInput<T>& input, T* out) {
  parallel_for(basis_blocks(input.n_rows), 1, [&](int64_t begin, int64_t end) {
    const int64_t last = end * kBasisBlock < input.n_rows ? end * kBasisBlock : input.n_rows;
    for_rows(input, begin * kBasisBlock, last, [&](int64_t row, const BasisRow<Vec<T>>& shared) FLASHMD_INLINE_BODY {
      for (int64_t k = 0; k < input.n_basis; k += kLanes) {
        const Vec<T> value = basis_value(shared, load(input.centres + k), load(input.widths + k));
        store_part(out + row * input.n_basis + k, value, input.n_basis - k);
      }
    });
  });
}

template <typename T>
void radial_basis_backward(const BasisInput<T>& input, const T* grad, const BasisSums<T>& sums) {
  sum_all(input, sums, [&](int64_t row, const BasisRow<Vec<T>>& shared, int64_t k) FLASHMD_INLINE_BODY {
    const Vec<T> g = load_part(grad + row * input.n_basis + k, input.n_basis - k);
    BasisTerms<Vec<T>> term = basis_gradient(shared, load(input.centres + k), load(input.widths + k));
    return BasisTerms<Vec<T>>{term.value, g * term.distance, g * term.centre, g * term.width};
  });
}

template <typename T>
void radial_basis_double_backward(const BasisInput<T>& input, const BasisDirection<T>& direction, const T* grad,
                                  T* along, const BasisSums<T>& sums) {
  sum_all(input, sums, [&](int64_t row, const BasisRow<Vec<T>>& shared, int64_t k) FLASHMD_INLINE_BODY {
    const BasisTerms<Vec<T>> way{splat(T(0)), splat(direction.distance[row]), load(direction.centres + k),
                                 load(direction.widths + k)};
    const Vec<T> g = load_part(grad + row * input.n_basis + k, input.n_basis - k);
    const BasisTerms<Vec<T>> term = basis_curvature(shared, load(input.centres + k), load(input.widths + k), way);
    store_part(along + row * input.n_basis + k, term.value, input.n_basis - k);
    return BasisTerms<Vec<T>>{term.value, g * term.distance, g * term.centre, g * term.width};
  });
}

#define FLASHMD_INSTANTIATE(T)                                                                             \
  template void radial_basis(const BasisInput<T>&, T*);                                                    \
  template void radial_basis_backward(const BasisInput<T>&, const T*, const BasisSums<T>&);                \
  template void radial_basis_double_backward(const BasisInput<T>&, const BasisDirection<T>&, const T*, T*, \
                                             const BasisSums<T>&);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cpu::FLASHMD_ISA

#include "pair_list.h"

#include <algorithm>

#include "../cpu/kernels.h"

namespace flashmd::engine {

template <typename T>
bool PairList<T>::covers(const Frame<T>& frame) const {
  if (reference_.size() != static_cast<size_t>(3 * frame.n_atoms) || skin_ == 0.0) return false;
  if (!std::equal(cell_.begin(), cell_.end(), frame.cell)) return false;
  return cpu::count_moved(frame.positions, reference_.data(), frame.n_atoms, 0.5 * skin_) == 0;
}

template <typename T>
int64_t PairList<T>::update(const Frame<T>& frame, bool& singular) {
  singular = false;
  if (covers(frame)) return -1;
  reference_.clear();
  const int64_t ptr[2] = {0, frame.n_atoms};
  const Batch<T> batch{frame.positions, ptr, frame.cell, frame.pbc, frame.n_atoms, 1, cutoff_ + skin_};
  const cpu::NeighborSearch search(batch, true);
  const NeighborStatus& status = search.status();
  if (status.bad_atom >= 0) return status.bad_atom;
  singular = status.bad_system >= 0;
  if (singular) return -1;
  const size_t n_pairs = static_cast<size_t>(status.found), n_bounds = static_cast<size_t>(frame.n_atoms) + 1;
  std::vector<int64_t> receiver(n_pairs), sender(n_pairs), shift(3 * n_pairs), transpose(n_pairs);
  std::vector<int64_t> row_ptr(n_bounds), col_ptr(n_bounds);
  search.write({receiver.data(), sender.data(), shift.data(), row_ptr.data(), transpose.data(), col_ptr.data()});
  receiver_.assign(receiver.begin(), receiver.end());
  sender_.assign(sender.begin(), sender.end());
  write_images(frame, shift);
  cell_.assign(frame.cell, frame.cell + 9);
  reference_.assign(frame.positions, frame.positions + 3 * frame.n_atoms);
  return -1;
}

// Lattice vectors added to the senders, in the order of operations of HalfPairs.from_edges.
template <typename T>
void PairList<T>::write_images(const Frame<T>& frame, const std::vector<int64_t>& shift) {
  image_.clear();
  if (!(frame.pbc[0] || frame.pbc[1] || frame.pbc[2])) return;
  image_.resize(shift.size());
  for (size_t first = 0; first < shift.size(); first += 3) {
    const T* cell = frame.cell;
    const T a = static_cast<T>(shift[first]), b = static_cast<T>(shift[first + 1]),
            c = static_cast<T>(shift[first + 2]);
    for (int d = 0; d < 3; ++d) image_[first + d] = a * cell[d] + b * cell[3 + d] + c * cell[6 + d];
  }
}

template class PairList<float>;
template class PairList<double>;

}  // namespace flashmd::engine

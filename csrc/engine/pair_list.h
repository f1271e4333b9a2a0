// A half neighbour list that lives for several steps, see flashmd/potential/verlet_list.py.
//
// What is computed from the list depends on the pairs within the cutoff only, not on when it was built.
#pragma once

#include <cstdint>
#include <vector>

namespace flashmd::engine {

// One system as the engine sees it.
template <typename T>
struct Frame {
  const T* positions;  // [n_atoms, 3], nm
  int64_t n_atoms;
  const T* cell;    // [3, 3], nm, rows are lattice vectors
  const bool* pbc;  // [3]
};

template <typename T>
class PairList {
public:
  PairList(double cutoff, double skin) : cutoff_(cutoff), skin_(skin) {}

  // Bring the list up to date. Returns the first atom whose position cannot be searched, or -1; `singular` is set where
  // the cell cannot.
  int64_t update(const Frame<T>& frame, bool& singular);

  int64_t n_pairs() const { return static_cast<int64_t>(receiver_.size()); }
  const int32_t* receiver() const { return receiver_.data(); }
  const int32_t* sender() const { return sender_.data(); }
  const T* image() const { return image_.empty() ? nullptr : image_.data(); }

private:
  bool covers(const Frame<T>& frame) const;
  void write_images(const Frame<T>& frame, const std::vector<int64_t>& shift);

  double cutoff_, skin_;
  std::vector<T> reference_, cell_;
  std::vector<int32_t> receiver_, sender_;
  std::vector<T> image_;
};

extern template class PairList<float>;
extern template class PairList<double>;

}  // namespace flashmd::engine

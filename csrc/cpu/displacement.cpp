// How far atoms have moved, which decides when a neighbour list is built anew.

#include "kernels.h"

namespace flashmd::cpu {

template <typename T>
int64_t count_moved(const T* positions, const T* reference, int64_t n_atoms, double limit) {
  const double most = limit * limit;
  int64_t count = 0;
  for (int64_t atom = 0; atom < n_atoms; ++atom) {
    T square = T(0);
    for (int64_t i = 3 * atom; i < 3 * atom + 3; ++i) {
      const T change = positions[i] - reference[i];
      square += change * change;
    }
    // Written so that a NaN counts.
    count += !(static_cast<double>(square) <= most);
  }
  return count;
}

template int64_t count_moved(const float*, const float*, int64_t, double);
template int64_t count_moved(const double*, const double*, int64_t, double);

}  // namespace flashmd::cpu

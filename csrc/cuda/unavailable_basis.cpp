// What the launchers of the radial basis are in a build without nvcc. Taking the stream raises before they are reached.

#include "basis.h"

namespace flashmd::cuda {

#define FLASHMD_UNAVAILABLE(T)                                                                                         \
  template <>                                                                                                          \
  void radial_basis(const BasisInput<T>&, T*, Stream stream) {                                                         \
    current_stream(stream != nullptr);                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void radial_basis_backward(const BasisInput<T>&, const T*, const BasisSums<T>&, Stream stream) {                     \
    current_stream(stream != nullptr);                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void radial_basis_double_backward(const BasisInput<T>&, const BasisDirection<T>&, const T*, T*, const BasisSums<T>&, \
                                    Stream stream) {                                                                   \
    current_stream(stream != nullptr);                                                                                 \
  }
FLASHMD_UNAVAILABLE(float)
FLASHMD_UNAVAILABLE(double)

}  // namespace flashmd::cuda

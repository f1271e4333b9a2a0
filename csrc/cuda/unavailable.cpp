// What the launchers are in a build without nvcc: one clear error.

#include <stdexcept>

#include "launchers.h"

namespace flashmd::cuda {
namespace {

[[noreturn]] void fail() {
  throw std::runtime_error(
      "the compiled operators: expected a build with CUDA for CUDA tensors, got one without. To fix it, rebuild with "
      "`FLASHMD_CUDA=ON python setup.py build_ext --inplace`, pass `backend=\"reference\"`, or move the tensors to the "
      "CPU.");
}

}  // namespace

Stream current_stream(int32_t) {
  fail();
}
NeighborStatus read_status(const int64_t*, Stream) {
  fail();
}

#define FLASHMD_UNAVAILABLE(T)                                                  \
  template <>                                                                   \
  void cfconv(const T*, const T*, const Rows&, int64_t, int64_t, T*, Stream) {  \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void edge_product(const T*, const T*, const Graph&, int64_t, T*, Stream) {    \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void edge_difference(const T*, const Graph&, int64_t, T*, Stream) {           \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void edge_divergence(const T*, const Graph&, int64_t, T*, Stream) {           \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void segment_sum(const T*, const int64_t*, int64_t, int64_t, T*, Stream) {    \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void segment_expand(const T*, const int64_t*, int64_t, int64_t, T*, Stream) { \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void philox_normal(const RandomRequest&, T*, Stream) {                        \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void philox_uniform(const RandomRequest&, T*, Stream) {                       \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void neighbor_count(const Batch<T>&, int64_t*, int64_t*, Stream) {            \
    fail();                                                                     \
  }                                                                             \
  template <>                                                                   \
  void neighbor_fill(const Batch<T>&, const NeighborOutput&, Stream) {          \
    fail();                                                                     \
  }
FLASHMD_UNAVAILABLE(float)
FLASHMD_UNAVAILABLE(double)

}  // namespace flashmd::cuda

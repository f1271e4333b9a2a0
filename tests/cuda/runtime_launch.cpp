// A kernel that is launched as in a build without nvcc.
#define FLASHMD_FAMILY "test"

#include "../../csrc/cuda/launch.h"

namespace flashmd::cuda {

template <typename T>
__global__ void scale_kernel(T* values, int64_t n, T factor) {
  for (int64_t item = global_thread(); item < n; item += grid_size()) values[item] *= factor;
}

template <typename T>
__global__ void other_kernel(T* values) {
  values[0] = T(0);
}

}  // namespace flashmd::cuda

// Launch on n items with n bytes of shared memory; return the text of an error.
extern "C" const char* launch_scale(float* values, int n, bool other) {
  using namespace flashmd::cuda;
  static std::string problem;
  try {
    Shape shape = threads_for(n);
    shape.shared_bytes = static_cast<size_t>(n);
    if (other) {
      launch<other_kernel<float>>(shape, nullptr, values);
    } else {
      launch<scale_kernel<float>>(shape, nullptr, values, n, 2.5);
    }
  } catch (const std::exception& error) {
    problem = error.what();
    return problem.c_str();
  }
  return nullptr;
}

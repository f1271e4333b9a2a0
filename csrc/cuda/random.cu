#include "random.cuh"

#include "launch.h"

namespace flashmd::cuda {
namespace {

template <typename T, bool kNormal>
void fill(const RandomRequest& request, T* out, Stream stream) {
  const int64_t n_blocks = (request.n_columns + 3) / 4;
  launch<random_kernel<T, kNormal>>(threads_for(request.n_rows * n_blocks), stream, request, n_blocks, out);
}

}  // namespace

template <typename T>
void philox_normal(const RandomRequest& request, T* out, Stream stream) {
  fill<T, true>(request, out, stream);
}

template <typename T>
void philox_uniform(const RandomRequest& request, T* out, Stream stream) {
  fill<T, false>(request, out, stream);
}

template void philox_normal(const RandomRequest&, float*, Stream);
template void philox_normal(const RandomRequest&, double*, Stream);
template void philox_uniform(const RandomRequest&, float*, Stream);
template void philox_uniform(const RandomRequest&, double*, Stream);

}  // namespace flashmd::cuda

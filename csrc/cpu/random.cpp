// Random numbers in tiles of rows.

#include "kernels.h"
#include "random_tile.h"

namespace flashmd::cpu {
namespace {

template <typename T, bool kNormal>
FLASHMD_INLINE void random_rows(const RandomRequest& request, int64_t begin, int64_t end, T* out) {
  Tile tile;
  for (int64_t first = begin; first < end; first += kTile) {
    const int n_rows = fill_streams(request.stream, first, end, tile);
    for (int64_t column = 0; column < request.n_columns; column += 4) {
      fill_words(request.seed, request.counter, static_cast<uint32_t>(column / 4), tile);
      if constexpr (kNormal) {
        fill_normals(tile);
      } else {
        fill_uniforms(tile);
      }
      const int n_words = static_cast<int>(request.n_columns - column < 4 ? request.n_columns - column : 4);
      for (int i = 0; i < n_rows; ++i) {
        T* target = out + (first + i) * request.n_columns + column;
        for (int w = 0; w < n_words; ++w) {
          const double number = tile.numbers[w][i];
          target[w] = kNormal ? static_cast<T>(number) : narrow_uniform<T>(number);
        }
      }
    }
  }
}

#define FLASHMD_INSTANTIATE(T)                                                                          \
  FLASHMD_CLONES void normal_range(const RandomRequest& request, int64_t begin, int64_t end, T* out) {  \
    random_rows<T, true>(request, begin, end, out);                                                     \
  }                                                                                                     \
  FLASHMD_CLONES void uniform_range(const RandomRequest& request, int64_t begin, int64_t end, T* out) { \
    random_rows<T, false>(request, begin, end, out);                                                    \
  }
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

// One number costs about as much as 16 elementary operations.
int64_t grain_of(const RandomRequest& request) {
  return grain_for(request.n_rows, 16 * request.n_rows * request.n_columns);
}

}  // namespace

template <typename T>
void philox_normal(const RandomRequest& request, T* out) {
  parallel_for(request.n_rows, grain_of(request),
               [&](int64_t begin, int64_t end) { normal_range(request, begin, end, out); });
}

template <typename T>
void philox_uniform(const RandomRequest& request, T* out) {
  parallel_for(request.n_rows, grain_of(request),
               [&](int64_t begin, int64_t end) { uniform_range(request, begin, end, out); });
}

template void philox_normal(const RandomRequest&, float*);
template void philox_normal(const RandomRequest&, double*);
template void philox_uniform(const RandomRequest&, float*);
template void philox_uniform(const RandomRequest&, double*);

}  // namespace flashmd::cpu

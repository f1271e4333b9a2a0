// Sums over the lanes of sixteen vectors at once.
#pragma once

#include "vector.h"

#if defined(FLASHMD_ISA_AVX512) || defined(FLASHMD_ISA_AVX2)
#include <immintrin.h>
#endif

namespace flashmd::cpu::FLASHMD_ISA {

// out[j] += sum of the lanes of the j-th of sixteen vectors.
template <typename T>
FLASHMD_INLINE void add_lane_sums(const T* vectors, T* out) {
  for (int j = 0; j < kLanes; ++j) out[j] += sum(load(vectors + j * kLanes));
}

#if defined(FLASHMD_ISA_AVX512)
// Lane 4 k + j of the result is the sum of lanes 4 k .. 4 k + 3 of vector j.
FLASHMD_INLINE __m512 sums_of_quarters(const float* vectors) {
  const __m512 a = _mm512_loadu_ps(vectors), b = _mm512_loadu_ps(vectors + kLanes);
  const __m512 c = _mm512_loadu_ps(vectors + 2 * kLanes), d = _mm512_loadu_ps(vectors + 3 * kLanes);
  const __m512d ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
  const __m512d cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
}

FLASHMD_INLINE __m512 add_even_and_odd_quarters(__m512 first, __m512 second) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x88), _mm512_shuffle_f32x4(first, second, 0xdd));
}

template <>
FLASHMD_INLINE void add_lane_sums(const float* vectors, float* out) {
  const __m512 low = add_even_and_odd_quarters(sums_of_quarters(vectors), sums_of_quarters(vectors + 4 * kLanes));
  const __m512 high =
      add_even_and_odd_quarters(sums_of_quarters(vectors + 8 * kLanes), sums_of_quarters(vectors + 12 * kLanes));
  _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(out), add_even_and_odd_quarters(low, high)));
}
#elif defined(FLASHMD_ISA_AVX2)
FLASHMD_INLINE __m256 sum_of_halves(const float* vector) {
  return _mm256_add_ps(_mm256_loadu_ps(vector), _mm256_loadu_ps(vector + 8));
}

template <>
FLASHMD_INLINE void add_lane_sums(const float* vectors, float* out) {
  for (int j = 0; j < kLanes; j += 4) {
    const float* first = vectors + j * kLanes;
    const __m256 ab = _mm256_hadd_ps(sum_of_halves(first), sum_of_halves(first + kLanes));
    const __m256 cd = _mm256_hadd_ps(sum_of_halves(first + 2 * kLanes), sum_of_halves(first + 3 * kLanes));
    const __m256 sums = _mm256_hadd_ps(ab, cd);
    const __m128 total = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    _mm_storeu_ps(out + j, _mm_add_ps(_mm_loadu_ps(out + j), total));
  }
}
#endif

}  // namespace flashmd::cpu::FLASHMD_ISA

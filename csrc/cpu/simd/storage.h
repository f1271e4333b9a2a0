// Loading of sixteen stored weights into a vector of the type of the arithmetic.
#pragma once

#include "../../include/half_types.h"
#include "vector.h"

#if defined(FLASHMD_ISA_AVX512) || defined(FLASHMD_ISA_AVX2)
#include <immintrin.h>
#endif

namespace flashmd::cpu::FLASHMD_ISA {

constexpr int kFloats = Vec<float>::kWidth;
typedef uint16_t Words __attribute__((vector_size(kFloats * sizeof(uint16_t))));
typedef int16_t SignedWords __attribute__((vector_size(kFloats * sizeof(int16_t))));
typedef uint32_t DoubleWords __attribute__((vector_size(kFloats * sizeof(uint32_t))));

template <typename To, typename From>
FLASHMD_INLINE To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

FLASHMD_INLINE Vec<float>::Register widen(const BFloat16* from) {
  Words words;
  memcpy(&words, from, sizeof words);
  return same_bits<Vec<float>::Register>(__builtin_convertvector(words, DoubleWords) << 16);
}

FLASHMD_INLINE Vec<float>::Register widen(const Int16* from) {
  SignedWords words;
  memcpy(&words, from, sizeof words);
  return __builtin_convertvector(words, Vec<float>::Register);
}

FLASHMD_INLINE Vec<float>::Register widen(const Float16* from) {
  Words words;
  memcpy(&words, from, sizeof words);
#if defined(FLASHMD_ISA_AVX512)
  return (Vec<float>::Register)_mm512_cvtph_ps((__m256i)words);
#elif defined(FLASHMD_ISA_AVX2)
  return (Vec<float>::Register)_mm256_cvtph_ps((__m128i)words);
#else
  // Exponent and mantissa are moved to their places; a product corrects the exponent's offset and brings subnormal
  // numbers to their value.
  const DoubleWords wide = __builtin_convertvector(words, DoubleWords);
  const auto size = same_bits<Vec<float>::Register>((wide & 0x7fffu) << 13) * 0x1p112f;
  return same_bits<Vec<float>::Register>(same_bits<DoubleWords>(size) | ((wide & 0x8000u) << 16));
#endif
}

// The stored weights, unscaled, in the type T of the arithmetic.
template <typename T, typename S>
FLASHMD_INLINE Vec<T> load_stored(const S* from) {
  if constexpr (sizeof(S) == sizeof(T)) {
    return load<T>(from);
  } else {
    Vec<float> wide;
    for (int i = 0; i < Vec<float>::kParts; ++i) wide.part[i] = widen(from + i * kFloats);
    if constexpr (sizeof(T) == sizeof(float)) {
      return wide;
    } else {
      Vec<T> result;
      for (int i = 0; i < Vec<T>::kParts; ++i) {
        for (int j = 0; j < Vec<T>::kWidth; ++j) result.part[i][j] = wide.lane(i * Vec<T>::kWidth + j);
      }
      return result;
    }
  }
}

}  // namespace flashmd::cpu::FLASHMD_ISA

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC11, doi:10.1145/2063384.2063405) and the two distributions built on it.
//
// Everything is branch-free and uses no library function but sqrt, so that compilers vectorise it over rows. Logarithm,
// sine and cosine follow the polynomials of fdlibm; their arguments are integers, so range reduction is exact.
#pragma once

#include <cmath>

#include "host_device.h"

namespace flashmd {

// The 128 counter bits are, lowest first: block (16), counter (48), stream (64); the key is the seed (64).
FLASHMD_HOST_DEVICE void philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t block, uint32_t words[4]) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  uint32_t word0 = block | (static_cast<uint32_t>(counter & 0xFFFFu) << 16);
  uint32_t word1 = static_cast<uint32_t>(counter >> 16);
  uint32_t word2 = static_cast<uint32_t>(stream), word3 = static_cast<uint32_t>(stream >> 32);
#ifdef __CUDACC__
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(word0) * 0xD2511F53u;
    const uint64_t product1 = static_cast<uint64_t>(word2) * 0xCD9E8D57u;
    word0 = static_cast<uint32_t>(product1 >> 32) ^ word1 ^ key0;
    word2 = static_cast<uint32_t>(product0 >> 32) ^ word3 ^ key1;
    word1 = static_cast<uint32_t>(product1);
    word3 = static_cast<uint32_t>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  words[0] = word0;
  words[1] = word1;
  words[2] = word2;
  words[3] = word3;
}

// 2^52 + word, then minus 2^52: an exact conversion that vectorises without AVX-512.
FLASHMD_HOST_DEVICE double exact_double(uint64_t word) {
  return double_of(word | 0x4330000000000000ull) - 4503599627370496.0;
}

// Uniform on the open interval (0, 1).
FLASHMD_HOST_DEVICE double uniform_from_word(uint32_t word) {
  return (exact_double(word) + 0.5) * 0x1p-32;
}

// log((word + 1) / 2^32), in [-22.2, 0].
FLASHMD_HOST_DEVICE double log_from_word(uint32_t word) {
  const double u = (exact_double(word) + 1.0) * 0x1p-32;
  const uint64_t shifted = bits_of(u) + ((0x3FF00000ull - 0x3FE6A09Eull) << 32);
  const double exponent = exact_double(shifted >> 52) - 1023.0;
  const double f = double_of((shifted & 0xFFFFFFFFFFFFFull) + (0x3FE6A09Eull << 32)) - 1.0;
  const double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  double series = 1.479819860511658591e-01;
  series = series * z + 1.531383769920937332e-01;
  series = series * z + 1.818357216161805012e-01;
  series = series * z + 2.222219843214978396e-01;
  series = series * z + 2.857142874366239149e-01;
  series = series * z + 3.999999999940941908e-01;
  series = series * z + 6.666666666666735130e-01;
  const double low = s * (half + series * z) + exponent * 1.90821492927058770002e-10;
  return exponent * 6.93147180369123816490e-01 - ((half - low) - f);
}

// Cosine and sine of 2 pi word / 2^32: the quadrant comes from the two upper bits of the rounded word.
FLASHMD_HOST_DEVICE void cos_sin_from_word(uint32_t word, double& cosine, double& sine) {
  const uint32_t quadrant = (word + 0x20000000u) >> 30;
  const double x = static_cast<double>(static_cast<int32_t>(word - (quadrant << 30))) * 1.46291807926715968105e-09;
  const double z = x * x;
  double odd = 1.58969099521155010221e-10;
  odd = odd * z - 2.50507602534068634195e-08;
  odd = odd * z + 2.75573137070700676789e-06;
  odd = odd * z - 1.98412698298579493134e-04;
  odd = odd * z + 8.33333333332248946124e-03;
  odd = odd * z - 1.66666666666666324348e-01;
  double even = -1.13596475577881948265e-11;
  even = even * z + 2.08757232129817482790e-09;
  even = even * z - 2.75573143513906633035e-07;
  even = even * z + 2.48015872894767294178e-05;
  even = even * z - 1.38888888888741095749e-03;
  even = even * z + 4.16666666666666019037e-02;
  const double s = x + x * z * odd, c = 1.0 - 0.5 * z + z * z * even;
  const bool swap = quadrant & 1u;
  const double first = swap ? s : c, second = swap ? c : s;
  cosine = ((quadrant + 1u) & 2u) ? -first : first;
  sine = (quadrant & 2u) ? -second : second;
}

// Two standard normal numbers by the method of Box and Muller.
FLASHMD_HOST_DEVICE void normals_from_words(uint32_t radial, uint32_t angular, double& first, double& second) {
  const double radius = sqrt(-2.0 * log_from_word(radial));
  double cosine, sine;
  cos_sin_from_word(angular, cosine, sine);
  first = radius * cosine;
  second = radius * sine;
}

// Rounding to float32 must not close the interval at 1.
template <typename T>
FLASHMD_HOST_DEVICE T narrow_uniform(double value) {
  return static_cast<T>(value);
}
template <>
FLASHMD_HOST_DEVICE float narrow_uniform<float>(double value) {
  return static_cast<float>(value < 1.0 - 0x1p-24 ? value : 1.0 - 0x1p-24);
}

}  // namespace flashmd

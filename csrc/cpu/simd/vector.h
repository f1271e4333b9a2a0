// Vectors of sixteen numbers that every instruction set knows, kept in as many registers as it takes: one of AVX-512,
// two of AVX2 or four of SSE2 in float, and twice as many in double.
//
// Files in this folder are compiled once for each instruction set, inside the namespace FLASHMD_ISA. They must not
// instantiate templates of the standard library: the linker would keep one copy for all instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#include "../../include/elementary.h"
#include "../parallel.h"

namespace flashmd::cpu::FLASHMD_ISA {

constexpr int kLanes = 16;
#if defined(FLASHMD_ISA_AVX512)
constexpr int kRegisterBytes = 64;
#elif defined(FLASHMD_ISA_AVX2)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

// Registers of the number type N; operators act lane by lane.
template <typename N>
struct Pack {
  typedef N Register __attribute__((vector_size(kRegisterBytes)));
  static constexpr int kWidth = kRegisterBytes / sizeof(N);
  static constexpr int kParts = kLanes / kWidth;
  Register part[kParts];

  // All lanes the same number.
  static FLASHMD_INLINE Pack all(N number) {
    Pack result;
    for (int i = 0; i < kParts; ++i) result.part[i] = number - Register{};
    return result;
  }
  FLASHMD_INLINE N lane(int index) const { return part[index / kWidth][index % kWidth]; }
};

#define FLASHMD_PACK_OPERATOR(OP)                                                           \
  template <typename N>                                                                     \
  FLASHMD_INLINE Pack<N> operator OP(Pack<N> left, const Pack<N>& right) {                  \
    for (int i = 0; i < Pack<N>::kParts; ++i) left.part[i] = left.part[i] OP right.part[i]; \
    return left;                                                                            \
  }                                                                                         \
  template <typename N>                                                                     \
  FLASHMD_INLINE Pack<N> operator OP(Pack<N> left, N right) {                               \
    for (int i = 0; i < Pack<N>::kParts; ++i) left.part[i] = left.part[i] OP right;         \
    return left;                                                                            \
  }                                                                                         \
  template <typename N>                                                                     \
  FLASHMD_INLINE Pack<N> operator OP(N left, Pack<N> right) {                               \
    for (int i = 0; i < Pack<N>::kParts; ++i) right.part[i] = left OP right.part[i];        \
    return right;                                                                           \
  }                                                                                         \
  template <typename N, typename R>                                                         \
  FLASHMD_INLINE Pack<N>& operator OP## = (Pack<N> & left, const R& right) {                \
    return left = left OP right;                                                            \
  }
FLASHMD_PACK_OPERATOR(+)
FLASHMD_PACK_OPERATOR(-)
FLASHMD_PACK_OPERATOR(*)
FLASHMD_PACK_OPERATOR(/)
#undef FLASHMD_PACK_OPERATOR

template <typename N>
FLASHMD_INLINE Pack<N> operator-(Pack<N> value) {
  for (int i = 0; i < Pack<N>::kParts; ++i) value.part[i] = -value.part[i];
  return value;
}

template <typename N>
FLASHMD_INLINE Pack<N> operator<<(Pack<N> value, N count) {
  for (int i = 0; i < Pack<N>::kParts; ++i) value.part[i] = value.part[i] << count;
  return value;
}

// Lane by lane, the integer -1 for true and 0 for false.
template <typename N>
struct Mask {
  typedef decltype(typename Pack<N>::Register{} < typename Pack<N>::Register{}) Register;
  Register part[Pack<N>::kParts];
};

#define FLASHMD_PACK_COMPARISON(OP)                                                                                   \
  template <typename N>                                                                                               \
  FLASHMD_INLINE Mask<N> operator OP(const Pack<N>& left, N right) {                                                  \
    Mask<N> result;                                                                                                   \
    for (int i = 0; i < Pack<N>::kParts; ++i) result.part[i] = left.part[i] OP(right - typename Pack<N>::Register{}); \
    return result;                                                                                                    \
  }                                                                                                                   \
  template <typename N>                                                                                               \
  FLASHMD_INLINE Mask<N> operator OP(const Pack<N>& left, const Pack<N>& right) {                                     \
    Mask<N> result;                                                                                                   \
    for (int i = 0; i < Pack<N>::kParts; ++i) result.part[i] = left.part[i] OP right.part[i];                         \
    return result;                                                                                                    \
  }
FLASHMD_PACK_COMPARISON(<)
FLASHMD_PACK_COMPARISON(>)
#undef FLASHMD_PACK_COMPARISON

template <typename N>
FLASHMD_INLINE Pack<N> choose(const Mask<N>& condition, Pack<N> yes, const Pack<N>& no) {
  for (int i = 0; i < Pack<N>::kParts; ++i) yes.part[i] = condition.part[i] ? yes.part[i] : no.part[i];
  return yes;
}

template <typename T>
using Vec = Pack<T>;

template <typename T>
FLASHMD_INLINE Vec<T> load(const T* from) {
  Vec<T> value;
  for (int i = 0; i < Vec<T>::kParts; ++i) memcpy(&value.part[i], from + i * Vec<T>::kWidth, kRegisterBytes);
  return value;
}

template <typename T>
FLASHMD_INLINE void store(T* to, const Vec<T>& value) {
  for (int i = 0; i < Vec<T>::kParts; ++i) memcpy(to + i * Vec<T>::kWidth, &value.part[i], kRegisterBytes);
}

template <typename T>
FLASHMD_INLINE Vec<T> splat(T number) {
  return Vec<T>::all(number);
}

// Sum of the lanes in a fixed order, the same for every instruction set.
template <typename T>
FLASHMD_INLINE T sum(const Vec<T>& value) {
  typedef T Eight __attribute__((vector_size(8 * sizeof(T))));
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  Eight eight[2];
  memcpy(eight, value.part, sizeof eight);
  eight[0] += eight[1];
  Four four[2];
  memcpy(four, eight, sizeof four);
  four[0] += four[1];
  return (four[0][0] + four[0][2]) + (four[0][1] + four[0][3]);
}

}  // namespace flashmd::cpu::FLASHMD_ISA

namespace flashmd {

template <>
struct Lanes<cpu::FLASHMD_ISA::Vec<float>> {
  using Number = float;
  using Integer = int32_t;
  using Bits = cpu::FLASHMD_ISA::Pack<int32_t>;
};
template <>
struct Lanes<cpu::FLASHMD_ISA::Vec<double>> {
  using Number = double;
  using Integer = int64_t;
  using Bits = cpu::FLASHMD_ISA::Pack<int64_t>;
};

}  // namespace flashmd

// Vectors of sixteen numbers that every instruction set knows: one AVX-512 register, two of AVX2 or four of SSE2 in
// float, and twice as many in double.
//
// Files in this folder are compiled once for each instruction set, inside the namespace FLASHMD_ISA. They must not
// instantiate templates of the standard library: the linker would keep one copy for all instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#include "../parallel.h"

namespace flashmd::cpu::FLASHMD_ISA {

constexpr int kLanes = 16;

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kLanes * sizeof(float))));
  typedef int32_t bits __attribute__((vector_size(kLanes * sizeof(int32_t))));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kLanes * sizeof(double))));
  typedef int64_t bits __attribute__((vector_size(kLanes * sizeof(int64_t))));
};

template <typename T>
using Vec = typename VectorOf<T>::type;
template <typename T>
using Bits = typename VectorOf<T>::bits;

template <typename T>
FLASHMD_INLINE Vec<T> load(const T* from) {
  Vec<T> value;
  memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
FLASHMD_INLINE void store(T* to, Vec<T> value) {
  memcpy(to, &value, sizeof value);
}

// All lanes the same number.
template <typename T>
FLASHMD_INLINE Vec<T> splat(T number) {
  return number - Vec<T>{};
}

// Sum of the lanes in a fixed order.
template <typename T>
FLASHMD_INLINE T sum(Vec<T> value) {
  T part[kLanes];
  memcpy(part, &value, sizeof value);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  }
  return part[0];
}

}  // namespace flashmd::cpu::FLASHMD_ISA

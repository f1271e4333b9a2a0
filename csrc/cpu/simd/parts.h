// Vectors at the end of a row whose length is no multiple of sixteen.
#pragma once

#include "vector.h"

namespace flashmd::cpu::FLASHMD_ISA {

// The first `count` of sixteen numbers; the others are zero.
template <typename T>
FLASHMD_INLINE Vec<T> load_part(const T* from, int64_t count) {
  if (count >= kLanes) return load(from);
  T part[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = from[i];
  return load(part);
}

template <typename T>
FLASHMD_INLINE void store_part(T* to, Vec<T> value, int64_t count) {
  if (count >= kLanes) return store(to, value);
  T part[kLanes];
  store(part, value);
  for (int64_t i = 0; i < count; ++i) to[i] = part[i];
}

}  // namespace flashmd::cpu::FLASHMD_ISA

// What lets one scalar function serve g++ and nvcc.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define FLASHMD_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define FLASHMD_HOST_DEVICE inline __attribute__((always_inline))
#endif

namespace flashmd {

FLASHMD_HOST_DEVICE uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

FLASHMD_HOST_DEVICE double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace flashmd

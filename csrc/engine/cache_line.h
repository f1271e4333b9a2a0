// Memory that begins at a cache line: what is read as whole vectors and tiles, of 64 bytes each, then crosses none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmd::engine {

struct alignas(64) CacheLine {
  unsigned char bytes[64];
};

// Lines that so many numbers of type T take.
template <typename T>
constexpr size_t cache_lines(int64_t n_numbers) {
  return (static_cast<size_t>(n_numbers) * sizeof(T) + sizeof(CacheLine) - 1) / sizeof(CacheLine);
}

}  // namespace flashmd::engine

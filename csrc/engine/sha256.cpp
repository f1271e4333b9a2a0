#include "sha256.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace flashmd::engine {
namespace {

constexpr size_t kBlock = 64;
constexpr int kRounds = 64;

// The constants are the leading bits of the fractional parts of roots of the first primes.
struct Constants {
  uint32_t start[8], round[kRounds];

  Constants() {
    int found = 0;
    for (int number = 2; found < kRounds; ++number) {
      bool prime = true;
      for (int divisor = 2; divisor * divisor <= number; ++divisor) prime = prime && number % divisor != 0;
      if (!prime) continue;
      if (found < 8) start[found] = fraction(std::sqrt(static_cast<long double>(number)));
      round[found++] = fraction(std::cbrt(static_cast<long double>(number)));
    }
  }

  static uint32_t fraction(long double root) {
    return static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
  }
};

void absorb(const Constants& constants, const unsigned char* block, uint32_t state[8]) {
  uint32_t w[kRounds];
  for (int i = 0; i < 16; ++i) {
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
           uint32_t{block[4 * i + 3]};
  }
  for (int i = 16; i < kRounds; ++i) {
    const uint32_t early = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
    const uint32_t late = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + early + w[i - 7] + late;
  }
  uint32_t v[8];
  memcpy(v, state, sizeof(v));
  for (int i = 0; i < kRounds; ++i) {
    const uint32_t high = std::rotr(v[4], 6) ^ std::rotr(v[4], 11) ^ std::rotr(v[4], 25);
    const uint32_t first = v[7] + high + ((v[4] & v[5]) ^ (~v[4] & v[6])) + constants.round[i] + w[i];
    const uint32_t low = std::rotr(v[0], 2) ^ std::rotr(v[0], 13) ^ std::rotr(v[0], 22);
    const uint32_t second = low + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof(uint32_t));
    v[4] += first;
    v[0] = first + second;
  }
  for (int i = 0; i < 8; ++i) state[i] += v[i];
}

}  // namespace

std::string sha256(const unsigned char* data, size_t size) {
  static const Constants constants;
  uint32_t state[8];
  memcpy(state, constants.start, sizeof(state));
  const size_t whole = size / kBlock * kBlock;
  for (size_t begin = 0; begin < whole; begin += kBlock) absorb(constants, data + begin, state);
  // A one, zeros, and the number of bits fill the last block.
  std::vector<unsigned char> rest(data + whole, data + size);
  rest.push_back(0x80);
  while (rest.size() % kBlock != kBlock - 8) rest.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8) rest.push_back(static_cast<unsigned char>(uint64_t{size} * 8 >> shift));
  for (size_t begin = 0; begin < rest.size(); begin += kBlock) absorb(constants, rest.data() + begin, state);
  std::string text;
  for (const uint32_t word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  }
  return text;
}

}  // namespace flashmd::engine

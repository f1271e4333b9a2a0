#include "tiles.h"

#include <cstring>

#include "schnet_layout.h"

#if defined(__x86_64__) && defined(__linux__)
#define FLASHMD_HAS_TILES 1
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace flashmd::cpu {
namespace {

constexpr int64_t kTogether = 4;  // chunks of the result whose sums are kept in registers

int64_t chunks_from(int64_t first, int64_t n_chunks) {
  return n_chunks - first < kTogether ? n_chunks - first : kTogether;
}

float to_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

float widen(float weight) {
  return weight;
}
float widen(BFloat16 weight) {
  return to_float(uint32_t{weight.bits} << 16);
}
float widen(Int16 weight) {
  return weight.bits;
}
// As in simd/storage.h: a product moves the exponent and brings subnormal numbers to their value.
float widen(Float16 weight) {
  const float size = to_float((weight.bits & 0x7fffu) << 13) * 0x1p112f;
  return weight.bits & 0x8000u ? -size : size;
}

// The leading part of a number as float32; half an ulp more goes up.
float leading_part(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return to_float((bits + 0x8000u) & 0xffff0000u);
}

uint16_t upper_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

// A matrix of [n_chunks][n_inner][16] stored weights, in the order in which its tiles are multiplied.
template <typename S>
void pack_matrix(const S* weights, int64_t n_inner, int64_t n_chunks, int64_t n_parts, uint16_t* tiles) {
  const int64_t n_steps = round_up(n_inner, kTileInner) / kTileInner;
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
    const int64_t first = chunk / kTogether * kTogether, n_together = chunks_from(first, n_chunks);
    for (int64_t inner = 0; inner < n_steps * kTileInner; ++inner) {
      const int64_t half = inner % kTileInner / kTileSide, row = inner % kTileSide;
      const int64_t tile = first * n_steps + inner / kTileInner * n_together + chunk - first;
      uint16_t* to = tiles + tile * n_parts * kTileWords + row * kTileInner + half;
      for (int64_t column = 0; column < kTileSide; ++column) {
        float rest = inner < n_inner ? widen(weights[(chunk * n_inner + inner) * kTileSide + column]) : 0.0f;
        for (int64_t part = 0; part < n_parts; ++part) {
          const float lead = leading_part(rest);
          to[part * kTileWords + 2 * column] = upper_half(lead);
          rest -= lead;
        }
      }
    }
  }
}

template <typename S>
void pack_all(const SchNetSizes& sizes, const S* weights, uint16_t* tiles) {
  const SchNetLayout layout(sizes);
  const int64_t n_parts = parts_of(sizes.storage);
  const auto pack = [&](const LayerPlace& place) {
    pack_matrix(weights + place.forward, place.n_in, place.n_out / kChunk, n_parts, tiles + place.forward_tiles);
    pack_matrix(weights + place.backward, place.n_out, place.n_in / kChunk, n_parts, tiles + place.backward_tiles);
  };
  for (int64_t i = 0; i < 3 * sizes.n_blocks; ++i) pack(layout.layer[i]);
  for (int64_t i = 0; i < sizes.n_hidden; ++i) pack(layout.readout[i]);
}

}  // namespace

void pack_tiles(const SchNetSizes& sizes, const void* weights, uint16_t* tiles) {
  switch (sizes.storage) {
    case Storage::full:
      return pack_all(sizes, static_cast<const float*>(weights), tiles);
    case Storage::float16:
      return pack_all(sizes, static_cast<const Float16*>(weights), tiles);
    case Storage::bfloat16:
      return pack_all(sizes, static_cast<const BFloat16*>(weights), tiles);
    case Storage::int16:
      return pack_all(sizes, static_cast<const Int16*>(weights), tiles);
  }
}

#if defined(FLASHMD_HAS_TILES)

#define FLASHMD_TILES __attribute__((target("avx512f,amx-tile,amx-bf16")))

bool has_tiles() {
  static const bool granted = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    constexpr unsigned kWanted = 1u << 22 | 1u << 24;  // bfloat16 products, tiles
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return (d & kWanted) == kWanted && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return granted;
}

namespace {

// Rows of 64 bytes of the eight tile registers; the last one holds the right-hand factor and always sixteen of them.
struct TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

// For each number of rows; constants, because the compiler does not see that all of a configuration is read.
struct AllTileShapes {
  TileShapes of_rows[kTileSide + 1];

  constexpr AllTileShapes() : of_rows() {
    for (int n = 0; n <= kTileSide; ++n) {
      for (int i = 0; i < 7; ++i) of_rows[n].rows[i] = static_cast<uint8_t>(n);
    }
  }
};

typedef uint32_t Words __attribute__((vector_size(64)));

FLASHMD_TILES __m512 leading_parts(__m512 values) {
  return (__m512)(((Words)values + 0x8000u) & 0xffff0000u);
}

// The leading parts of two vectors, those of `first` as lower halves.
FLASHMD_TILES __m512i join(__m512 first, __m512 second) {
  return (__m512i)((Words)first >> 16 | (Words)second);
}

// [3][n_inner / 32][16][16][2], the last two as in the tiles of the right-hand factor.
FLASHMD_TILES void split_rows(const float* left, int64_t stride, int64_t n_rows, int64_t n_inner, uint16_t* parts) {
  const int64_t n_steps = round_up(n_inner, kTileInner) / kTileInner;
  for (int64_t step = 0; step < n_steps; ++step) {
    const bool both = (2 * step + 1) * kTileSide < n_inner;
    for (int64_t row = 0; row < n_rows; ++row) {
      const float* from = left + 2 * step * stride + row * kTileSide;
      __m512 first = _mm512_loadu_ps(from), second = both ? _mm512_loadu_ps(from + stride) : _mm512_setzero_ps();
      uint16_t* to = parts + step * kTileWords + row * kTileInner;
      for (int64_t part = 0; part < kMostParts; ++part) {
        const __m512 first_lead = leading_parts(first), second_lead = leading_parts(second);
        _mm512_storeu_si512(to + part * n_steps * kTileWords, join(first_lead, second_lead));
        first = _mm512_sub_ps(first, first_lead);
        second = _mm512_sub_ps(second, second_lead);
      }
    }
  }
}

// Tile registers: sums of four chunks 0 to 3, parts of the left-hand factor 4 to 6, a part of the right-hand one 7.
// Their numbers are part of the instructions, hence macros.
#define FLASHMD_CHUNK_PRODUCTS(CHUNK)                                              \
  if (CHUNK < n_together) {                                                        \
    const uint16_t* b = right + (step * n_together + CHUNK) * kParts * kTileWords; \
    _tile_loadd(7, b, 64);                                                         \
    _tile_dpbf16ps(CHUNK, 6, 7);                                                   \
    _tile_dpbf16ps(CHUNK, 5, 7);                                                   \
    _tile_dpbf16ps(CHUNK, 4, 7);                                                   \
    if constexpr (kParts > 1) {                                                    \
      _tile_loadd(7, b + kTileWords, 64);                                          \
      _tile_dpbf16ps(CHUNK, 5, 7);                                                 \
      _tile_dpbf16ps(CHUNK, 4, 7);                                                 \
    }                                                                              \
    if constexpr (kParts > 2) {                                                    \
      _tile_loadd(7, b + 2 * kTileWords, 64);                                      \
      _tile_dpbf16ps(CHUNK, 4, 7);                                                 \
    }                                                                              \
  }
#define FLASHMD_STORE_CHUNK(CHUNK) \
  if (CHUNK < n_together) _tile_stored(CHUNK, out + CHUNK * kTileSide * kTileSide, 64);

// Sums of up to four chunks.
template <int kParts>
FLASHMD_TILES void multiply_chunks(const uint16_t* parts, int64_t n_steps, const uint16_t* right, int64_t n_together,
                                   float* out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t step = 0; step < n_steps; ++step) {
    _tile_loadd(4, parts + step * kTileWords, 64);
    _tile_loadd(5, parts + (n_steps + step) * kTileWords, 64);
    _tile_loadd(6, parts + (2 * n_steps + step) * kTileWords, 64);
    FLASHMD_CHUNK_PRODUCTS(0)
    FLASHMD_CHUNK_PRODUCTS(1)
    FLASHMD_CHUNK_PRODUCTS(2)
    FLASHMD_CHUNK_PRODUCTS(3)
  }
  FLASHMD_STORE_CHUNK(0)
  FLASHMD_STORE_CHUNK(1)
  FLASHMD_STORE_CHUNK(2)
  FLASHMD_STORE_CHUNK(3)
}

template <int kParts>
FLASHMD_TILES void multiply_parts(const uint16_t* parts, int64_t n_steps, const uint16_t* right, int64_t n_chunks,
                                  float* out) {
  for (int64_t chunk = 0; chunk < n_chunks; chunk += kTogether) {
    multiply_chunks<kParts>(parts, n_steps, right + chunk * n_steps * kParts * kTileWords, chunks_from(chunk, n_chunks),
                            out + chunk * kTileSide * kTileSide);
  }
}

}  // namespace

FLASHMD_TILES void set_up_tiles(int64_t n_rows) {
  static constexpr AllTileShapes kShapes;
  _tile_loadconfig(&kShapes.of_rows[n_rows]);
}

FLASHMD_TILES void release_tiles() {
  _tile_release();
}

FLASHMD_TILES void multiply_tiles(const float* left, int64_t stride, int64_t n_rows, int64_t n_inner,
                                  const uint16_t* right, int64_t n_parts, int64_t n_chunks, uint16_t* parts,
                                  float* out) {
  split_rows(left, stride, n_rows, n_inner, parts);
  // The compiler does not see that tiles are loaded from what was just written.
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  const int64_t n_steps = round_up(n_inner, kTileInner) / kTileInner;
  if (n_parts == 1) multiply_parts<1>(parts, n_steps, right, n_chunks, out);
  if (n_parts == 2) multiply_parts<2>(parts, n_steps, right, n_chunks, out);
  if (n_parts == 3) multiply_parts<3>(parts, n_steps, right, n_chunks, out);
}

#else

bool has_tiles() {
  return false;
}

#endif

}  // namespace flashmd::cpu

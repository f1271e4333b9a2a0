// Sixteen-bit storage of weights. The scale of a channel is applied after the product, not here.
#pragma once

#include "host_device.h"

namespace flashmd {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
// Fixed point: the stored integer stands for integer / 32767.
struct Int16 {
  int16_t bits;
};
constexpr float kInt16Unit = 1.0f / 32767.0f;

}  // namespace flashmd

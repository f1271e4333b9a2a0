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
struct Int16 {
  int16_t bits;
};

}  // namespace flashmd

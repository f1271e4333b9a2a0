// Sums over the lanes of a warp, in an order that is always the same. Every lane must take part.
#pragma once

#include "device.cuh"

namespace flashmd::cuda {

__device__ inline int lane_index() {
  return static_cast<int>(threadIdx.x % kWarp);
}
__device__ inline int warp_index() {
  return static_cast<int>(threadIdx.x / kWarp);
}

// The sum over all lanes, for every lane.
template <typename T>
__device__ T warp_sum(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

// The sum over this and all lower lanes.
template <typename T>
__device__ T warp_running_sum(T value) {
  for (int step = 1; step < kWarp; step *= 2) {
    const T below = __shfl_up_sync(kAllLanes, value, step);
    if (lane_index() >= step) value += below;
  }
  return value;
}

}  // namespace flashmd::cuda

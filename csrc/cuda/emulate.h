// The part of CUDA that the kernels use, run by the host: their sources compile with g++ and their results can be
// checked on machines without a GPU. For tests only; blocks run one after the other and take as long as they take.
//
// The threads of a block are fibers. Each runs until it ends or waits, and waiting threads go on when all threads of
// the warp or block have arrived. Kernels without races give the same bits for every order of threads, so tests run
// both orders; a barrier that not every thread reaches raises.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

using std::isfinite;

namespace flashmd::emulate {

struct Index {
  unsigned x;
};

inline Index thread_index, block_index, block_size, grid_size;
inline bool descending = false;
inline std::vector<unsigned char> dynamic_shared;

enum class Wait { none, warp, block, ended };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Wait wait = Wait::ended;
};

constexpr size_t kStack = 64 * 1024;
constexpr unsigned kWarp = 32;
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline std::function<void()> body;
inline uint64_t exchange[1024];  // [n_threads], what the lanes of a warp show each other

inline void run_fiber() {
  body();
  fibers[thread_index.x].wait = Wait::ended;
}

inline void wait_for(Wait what) {
  const unsigned self = thread_index.x;
  fibers[self].wait = what;
  swapcontext(&fibers[self].context, &scheduler);
}

inline void start(unsigned thread) {
  Fiber& fiber = fibers[thread];
  if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = &scheduler;
  makecontext(&fiber.context, run_fiber, 0);
  fiber.wait = Wait::none;
}

// Let threads [begin, end) go on if all of them wait for `what`; return whether they do.
inline bool release(unsigned begin, unsigned end, Wait what) {
  for (unsigned t = begin; t < end; ++t) {
    if (fibers[t].wait != what) return false;
  }
  for (unsigned t = begin; t < end; ++t) fibers[t].wait = Wait::none;
  return true;
}

inline void run_block(unsigned n_threads) {
  // Numbers that no kernel may rely on: a read before the write shows.
  std::fill(dynamic_shared.begin(), dynamic_shared.end(), 0xFF);
  for (unsigned t = 0; t < n_threads; ++t) start(t);
  while (true) {
    for (unsigned i = 0; i < n_threads; ++i) {
      thread_index.x = descending ? n_threads - 1 - i : i;
      if (fibers[thread_index.x].wait == Wait::none) swapcontext(&scheduler, &fibers[thread_index.x].context);
    }
    if (release(0, n_threads, Wait::ended)) return;
    bool moved = release(0, n_threads, Wait::block);
    for (unsigned first = 0; first < n_threads; first += kWarp) {
      moved |= release(first, first + kWarp < n_threads ? first + kWarp : n_threads, Wait::warp);
    }
    if (!moved) throw std::logic_error("a barrier is not reached by every thread");
  }
}

template <typename Call>
void launch(unsigned n_blocks, unsigned n_threads, size_t shared_bytes, const Call& call) {
  if (n_threads > 1024) throw std::logic_error("a block has more than 1024 threads");
  if (fibers.size() < n_threads) fibers.resize(n_threads);
  dynamic_shared.assign(shared_bytes, 0);
  grid_size.x = n_blocks;
  block_size.x = n_threads;
  body = call;
  for (unsigned b = 0; b < n_blocks; ++b) {
    block_index.x = descending ? n_blocks - 1 - b : b;
    run_block(n_threads);
  }
}

// One "family name" a line.
inline std::string kernels;
inline bool list_kernel(std::string_view family, std::string_view name) {
  kernels.append(family).append(" ").append(name).append("\n");
  return true;
}

template <typename T>
T exchanged(T value, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  const unsigned self = thread_index.x, first = self - self % kWarp;
  memcpy(&exchange[self], &value, sizeof value);
  wait_for(Wait::warp);
  memcpy(&value, &exchange[first + lane % kWarp], sizeof value);
  wait_for(Wait::warp);
  return value;
}

}  // namespace flashmd::emulate

#define threadIdx ::flashmd::emulate::thread_index
#define blockIdx ::flashmd::emulate::block_index
#define blockDim ::flashmd::emulate::block_size
#define gridDim ::flashmd::emulate::grid_size

inline void __syncthreads() {
  flashmd::emulate::wait_for(flashmd::emulate::Wait::block);
}
inline void __syncwarp() {
  flashmd::emulate::wait_for(flashmd::emulate::Wait::warp);
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return flashmd::emulate::exchanged(value, static_cast<unsigned>(lane));
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return flashmd::emulate::exchanged(value, (threadIdx.x % 32) ^ static_cast<unsigned>(mask));
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned distance) {
  const unsigned lane = threadIdx.x % 32;
  return flashmd::emulate::exchanged(value, lane < distance ? lane : lane - distance);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane) votes |= static_cast<unsigned>(__shfl_sync(~0u, vote ? 1 : 0, lane)) << lane;
  return votes;
}
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  const unsigned long long old = *address;
  if (value < old) *address = value;
  return old;
}

// Threads of the host library and instruction sets of the processor, kept out of the kernels' way.
#pragma once

#include <cstdint>

// One binary serves every x86-64 processor: the loader picks the widest instruction set it has.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define FLASHMD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FLASHMD_CLONES
#endif
#define FLASHMD_INLINE inline __attribute__((always_inline))
// The same for a lambda, after its parameters.
#define FLASHMD_INLINE_BODY __attribute__((always_inline))

namespace flashmd::cpu {

using RangeFunction = void (*)(int64_t begin, int64_t end, void* context);

// Defined beside the bindings, where it hands the ranges to torch's pool, so that torch.set_num_threads holds.
void run_parallel(int64_t n_items, int64_t grain, RangeFunction function, void* context);

// Call function(begin, end) on disjoint ranges that cover [0, n_items). Short work stays on the calling thread.
template <typename F>
void parallel_for(int64_t n_items, int64_t grain, const F& function) {
  if (n_items <= grain) {
    if (n_items > 0) function(int64_t{0}, n_items);
    return;
  }
  const auto call = [](int64_t begin, int64_t end, void* context) { (*static_cast<const F*>(context))(begin, end); };
  run_parallel(n_items, grain, call, const_cast<F*>(&function));
}

// Rows per task such that one task does about 32k elementary operations.
inline int64_t grain_for(int64_t n_rows, int64_t total_work) {
  constexpr int64_t kTaskWork = 32768;
  if (total_work <= kTaskWork) return n_rows;
  const int64_t rows = n_rows * kTaskWork / total_work;
  return rows > 0 ? rows : 1;
}

}  // namespace flashmd::cpu

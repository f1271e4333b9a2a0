#include "thread_pool.h"

#include <algorithm>
#include <utility>

namespace flashmd::engine {
namespace {

// An evaluation has dozens of phases a few microseconds apart: threads look for the next one for a while before they
// sleep.
constexpr int kSpins = 4000;

thread_local ThreadPool* current = nullptr;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void wait_while(const std::atomic<int>& number, int value) {
  for (int i = 0; i < kSpins; ++i) {
    if (number.load(std::memory_order_acquire) != value) return;
    pause();
  }
  number.wait(value, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) {
  for (int64_t worker = 1; worker < n_threads; ++worker) workers_.emplace_back([this, worker] { serve(worker); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  ++round_;
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::serve(int64_t worker) {
  for (int seen = 0;;) {
    wait_while(round_, seen);
    seen = round_.load(std::memory_order_acquire);
    if (stop_) return;
    if (worker < work_.n_ranges) run_range(worker);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_all();
  }
}

void ThreadPool::run_range(int64_t range) {
  try {
    work_.function(work_.n_items * range / work_.n_ranges, work_.n_items * (range + 1) / work_.n_ranges, work_.context);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(failure_guard_);
    failure_ = std::current_exception();
  }
}

void ThreadPool::run(int64_t n_items, int64_t grain, cpu::RangeFunction function, void* context) {
  const int64_t most = std::max<int64_t>(n_items / std::max<int64_t>(grain, 1), 1);
  work_ = {n_items, std::min<int64_t>(most, n_threads()), function, context};
  busy_.store(n_threads() - 1, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  run_range(0);
  for (int left = busy_.load(std::memory_order_acquire); left != 0; left = busy_.load(std::memory_order_acquire)) {
    wait_while(busy_, left);
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

PoolScope::PoolScope(ThreadPool& pool) : previous_(current) {
  current = pool.n_threads() > 1 ? &pool : nullptr;
}

PoolScope::~PoolScope() {
  current = previous_;
}

}  // namespace flashmd::engine

namespace flashmd::cpu {

void run_parallel(int64_t n_items, int64_t grain, RangeFunction function, void* context) {
  if (engine::current) {
    engine::current->run(n_items, grain, function, context);
  } else {
    function(0, n_items, context);
  }
}

}  // namespace flashmd::cpu

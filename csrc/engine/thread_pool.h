// Threads of one force. The kernels find the pool of the calling thread behind cpu::run_parallel.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "../cpu/parallel.h"

namespace flashmd::engine {

class ThreadPool {
public:
  // `n_threads` includes the calling one.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Call function on as many even ranges as there are threads, but none shorter than `grain`; wait for all.
  void run(int64_t n_items, int64_t grain, cpu::RangeFunction function, void* context);

private:
  struct Work {
    int64_t n_items, n_ranges;
    cpu::RangeFunction function;
    void* context;
  };

  void serve(int64_t worker);
  void run_range(int64_t range);

  Work work_{};
  std::atomic<int> round_{0}, busy_{0};
  std::atomic<bool> stop_{false};
  std::mutex failure_guard_;
  std::exception_ptr failure_;
  std::vector<std::thread> workers_;
};

// While this lives, kernels called by this thread run in a pool.
class PoolScope {
public:
  explicit PoolScope(ThreadPool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

private:
  ThreadPool* const previous_;
};

}  // namespace flashmd::engine

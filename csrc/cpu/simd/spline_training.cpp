// Convolution with tabulated filters and its derivatives, sixteen channels at a time.
//
// The pairs are sorted by interval, so the polynomial of an interval and its gradient stay in registers over the
// run of its pairs, while the slices of the atoms' features come from the first levels of the cache. A task owns
// sixteen channels of its results and adds in the order of the pairs: any number of threads gives the same bits.

#include "../spline.h"
#include "spline_chunk.h"

namespace flashmd::cpu::FLASHMD_ISA {
namespace {

// Channels [first, first + width) of the atoms [begin, end) of a group, and the group's pairs.
struct Task {
  int64_t chunk, width, begin, end, first_pair, last_pair;
};

template <typename T>
Task make_task(const SplineInput<T>& input, int64_t chunk, int64_t group) {
  const int64_t left = input.n_channels - chunk * kLanes;
  return {chunk,
          left < kLanes ? left : kLanes,
          input.pairs.first_atom[group],
          input.pairs.first_atom[group + 1],
          input.pairs.first_pair[group],
          input.pairs.first_pair[group + 1]};
}

// One array of the workspace, [n_atoms][16] for the channels of a task.
template <typename T>
T* slice(const SplineInput<T>& input, const SplineWorkspace<T>& work, int64_t array, int64_t chunk) {
  const int64_t n_atoms = input.pairs.n_atoms;
  return work.chunks + (array * spline_chunks(input.n_channels) + chunk) * n_atoms * kLanes;
}

template <typename T>
T* packed(const SplineInput<T>& input, const SplineWorkspace<T>& work, int64_t array, const Task& task, const T* rows) {
  T* to = slice(input, work, array, task.chunk);
  for (int64_t atom = task.begin; atom < task.end; ++atom) {
    const Vec<T> value = rows ? load_some(rows + atom * input.n_channels + task.chunk * kLanes, task.width) : Vec<T>{};
    store(to + atom * kLanes, value);
  }
  return to;
}

template <typename T>
void unpack(const SplineInput<T>& input, const Task& task, const T* from, T* rows) {
  for (int64_t atom = task.begin; atom < task.end; ++atom) {
    const Vec<T> value = load(from + atom * kLanes);
    store_some(rows + atom * input.n_channels + task.chunk * kLanes, value, task.width);
  }
}

// The polynomial of an interval in the channels of a task.
template <typename T>
FLASHMD_INLINE Cubic<T> cubic(const SplineInput<T>& input, const SplineKnots<const T>& table, const Task& task,
                              int64_t interval) {
  const int64_t at = interval * input.n_channels + task.chunk * kLanes, next = at + input.n_channels;
  // The rows of a table lie too far apart for the processor to foresee the next one.
  __builtin_prefetch(table.values + next + input.n_channels);
  __builtin_prefetch(table.slopes + next + input.n_channels);
  return between<T>({load_some(table.values + at, task.width), load_some(table.slopes + at, task.width) * input.spacing,
                     load_some(table.values + next, task.width),
                     load_some(table.slopes + next, task.width) * input.spacing});
}

// Add the gradient with respect to the polynomial of an interval to that of its knots.
template <typename T>
FLASHMD_INLINE void add_cubic(const SplineInput<T>& input, const SplineKnots<T>& table, const Task& task,
                              int64_t interval, const Cubic<T>& sum) {
  const int64_t at = interval * input.n_channels + task.chunk * kLanes, next = at + input.n_channels;
  const Hermite<T> ends = to_ends(sum);
  __builtin_prefetch(table.values + next + input.n_channels, 1);
  __builtin_prefetch(table.slopes + next + input.n_channels, 1);
  add_some(table.values + at, ends.value, task.width);
  add_some(table.slopes + at, ends.slope * input.spacing, task.width);
  add_some(table.values + next, ends.next_value, task.width);
  add_some(table.slopes + next, ends.next_slope * input.spacing, task.width);
}

// The pairs of a task, run by run: those of one interval, then those of the next one that has any.
template <typename T>
class Runs {
public:
  FLASHMD_INLINE Runs(const SplineInput<T>& input, const Task& task)
      : end(task.first_pair),
        receiver_(input.pairs.receiver),
        sender_(input.pairs.sender),
        interval_(input.pairs.interval),
        last_(task.last_pair),
        outside_(static_cast<int32_t>(input.pairs.n_intervals)) {}

  FLASHMD_INLINE bool next() {
    begin = end;
    if (begin == last_ || interval_[begin] == outside_) return false;
    interval = interval_[begin];
    do {
      ++end;
    } while (end < last_ && interval_[end] == interval);
    return true;
  }

  // Where the slices of both atoms begin.
  FLASHMD_INLINE int64_t receiver(int64_t pair) const {
    return int64_t{static_cast<uint32_t>(receiver_[pair])} * kLanes;
  }
  FLASHMD_INLINE int64_t sender(int64_t pair) const { return int64_t{static_cast<uint32_t>(sender_[pair])} * kLanes; }

  int32_t interval = 0;
  int64_t begin = 0, end;

private:
  const int32_t *receiver_, *sender_, *interval_;
  int64_t last_;
  int32_t outside_;
};

// Call body(task) for all chunks and groups; the groups of a chunk in order on one thread where they share a result.
template <typename T, typename F>
void for_tasks(const SplineInput<T>& input, bool shared, const F& body) {
  const int64_t n_chunks = spline_chunks(input.n_channels), n_groups = input.pairs.n_groups;
  const int64_t split = shared ? 1 : n_groups;
  parallel_for(n_chunks * split, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = shared ? 0 : item % split, last = shared ? n_groups : first + 1;
      for (int64_t group = first; group < last; ++group) body(make_task(input, item / split, group));
    }
  });
}

// out[p] = sum of the chunks' shares, in order.
template <typename T>
void sum_partial(const SplineInput<T>& input, const T* __restrict partial, T* __restrict out) {
  const int64_t n_pairs = input.pairs.n_pairs, n_chunks = spline_chunks(input.n_channels);
  const int32_t outside = static_cast<int32_t>(input.pairs.n_intervals);
  parallel_for(n_pairs, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) out[p] = T(0);
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      for (int64_t p = begin; p < end; ++p) out[p] += partial[chunk * n_pairs + p];
    }
    for (int64_t p = begin; p < end; ++p) out[p] = input.pairs.interval[p] < outside ? out[p] : T(0);
  });
}

template <typename T>
void clear(const SplineInput<T>& input, const SplineKnots<T>& table) {
  const int64_t size = (input.pairs.n_intervals + 1) * input.n_channels;
  parallel_for(size, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) table.values[k] = table.slopes[k] = T(0);
  });
}

template <typename T>
void convolve_task(const SplineInput<T>& input, const SplineWorkspace<T>& work, const Task& task, T* out) {
  const T* x = packed<T>(input, work, 0, task, input.features);
  T* a = packed<T>(input, work, 1, task, nullptr);
  const T* fraction = input.fraction;
  for (Runs<T> run(input, task); run.next();) {
    const Cubic<T> c = cubic(input, input.table, task, run.interval);
    for (int64_t p = run.begin; p < run.end; ++p) {
      const int64_t t = run.receiver(p), s = run.sender(p);
      const Vec<T> w = value(c, splat(fraction[p]));
      add(a + t, load(x + s) * w);
      add(a + s, load(x + t) * w);
    }
  }
  unpack(input, task, a, out);
}

template <bool kFeatures, bool kFraction, bool kTable, typename T>
void first_task(const SplineInput<T>& input, const SplineWorkspace<T>& work, const Task& task,
                const SplineOutput<T>& out) {
  const T* g = packed<T>(input, work, 0, task, input.grad);
  const T* x = kFraction || kTable ? packed<T>(input, work, 1, task, input.features) : nullptr;
  T* to_x = kFeatures ? packed<T>(input, work, 2, task, nullptr) : nullptr;
  const T* fraction = input.fraction;
  alignas(64) T rows[kLanes * kLanes];
  LaneSums<T> sums(work.partial + task.chunk * input.pairs.n_pairs, rows, task.first_pair);
  Runs<T> run(input, task);
  while (run.next()) {
    const Cubic<T> c = cubic(input, input.table, task, run.interval);
    const Quadratic<T> slope = derivative(c);
    Cubic<T> to_c{};
    for (int64_t p = run.begin; p < run.end; ++p) {
      const int64_t t = run.receiver(p), s = run.sender(p);
      const Vec<T> u = splat(fraction[p]), g_t = load(g + t), g_s = load(g + s);
      if constexpr (kFeatures) {
        const Vec<T> w = value(c, u);
        add(to_x + t, g_s * w);
        add(to_x + s, g_t * w);
      }
      if constexpr (kFraction || kTable) {
        const Vec<T> product = g_t * load(x + s) + g_s * load(x + t);
        if constexpr (kFraction) sums.add(p, product * value(slope, u));
        if constexpr (kTable) accumulate(to_c, product, u);
      }
    }
    if constexpr (kTable) add_cubic(input, out.table, task, run.interval, to_c);
  }
  if constexpr (kFraction) sums.finish(run.end);
  if constexpr (kFeatures) unpack(input, task, to_x, out.features);
}

// kFull: with the gradient to the fractions and a cotangent of the table's gradient. Training needs neither.
template <bool kFull, typename T>
void second_task(const SplineInput<T>& input, const SplineCotangent<T>& cotangent, const SplineWorkspace<T>& work,
                 const Task& task, const SplineOutput<T>& out) {
  const T* g = packed<T>(input, work, 0, task, input.grad);
  const T* x = packed<T>(input, work, 1, task, input.features);
  const T* dx = packed<T>(input, work, 2, task, cotangent.features);
  T* to_g = packed<T>(input, work, 3, task, nullptr);
  T* to_x = packed<T>(input, work, 4, task, nullptr);
  const T *fraction = input.fraction, *dot_fraction = cotangent.fraction;
  alignas(64) T rows[kLanes * kLanes];
  LaneSums<T> sums(work.partial + task.chunk * input.pairs.n_pairs, rows, task.first_pair);
  Runs<T> run(input, task);
  while (run.next()) {
    const Cubic<T> c = cubic(input, input.table, task, run.interval);
    const Quadratic<T> slope = derivative(c);
    Cubic<T> dc{}, to_c{};
    if (kFull && cotangent.table.values) dc = cubic(input, cotangent.table, task, run.interval);
    const Quadratic<T> slope_dc = derivative(dc);
    for (int64_t p = run.begin; p < run.end; ++p) {
      const int64_t t = run.receiver(p), s = run.sender(p);
      const Vec<T> u = splat(fraction[p]), du = splat(dot_fraction ? dot_fraction[p] : T(0));
      const Vec<T> g_t = load(g + t), g_s = load(g + s), x_t = load(x + t), x_s = load(x + s);
      const Vec<T> dx_t = load(dx + t), dx_s = load(dx + s);
      const Vec<T> w = value(c, u), w_slope = value(slope, u);
      Vec<T> dw = w_slope * du;
      if constexpr (kFull) dw += value(dc, u);
      add(to_g + t, dx_s * w + x_s * dw);
      add(to_g + s, dx_t * w + x_t * dw);
      add(to_x + t, g_s * dw);
      add(to_x + s, g_t * dw);
      const Vec<T> first = g_t * dx_s + g_s * dx_t, second = g_t * x_s + g_s * x_t;
      accumulate(to_c, first, second * du, u);
      if constexpr (kFull) {
        sums.add(p, first * w_slope + second * (value(derivative(slope), u) * du + value(slope_dc, u)));
      }
    }
    add_cubic(input, out.table, task, run.interval, to_c);
  }
  if constexpr (kFull) sums.finish(run.end);
  unpack(input, task, to_g, out.grad);
  unpack(input, task, to_x, out.features);
}

template <bool kFeatures, bool kFraction, bool kTable, typename T>
void run_first(const SplineInput<T>& input, const SplineWorkspace<T>& work, const SplineOutput<T>& out) {
  for_tasks(input, kTable, [&](const Task& task) { first_task<kFeatures, kFraction, kTable>(input, work, task, out); });
}

template <bool kFeatures, bool kFraction, typename T>
void choose_first(const SplineInput<T>& input, const SplineWorkspace<T>& work, const SplineOutput<T>& out) {
  if (out.table.values) return run_first<kFeatures, kFraction, true>(input, work, out);
  if constexpr (kFeatures || kFraction) run_first<kFeatures, kFraction, false>(input, work, out);
}

}  // namespace

template <typename T>
void spline_convolve(const SplineInput<T>& input, const SplineWorkspace<T>& work, T* out) {
  for_tasks(input, false, [&](const Task& task) { convolve_task(input, work, task, out); });
}

template <typename T>
void spline_first(const SplineInput<T>& input, const SplineWorkspace<T>& work, const SplineOutput<T>& out) {
  if (out.table.values) clear(input, out.table);
  if (out.features) {
    out.fraction ? choose_first<true, true>(input, work, out) : choose_first<true, false>(input, work, out);
  } else {
    out.fraction ? choose_first<false, true>(input, work, out) : choose_first<false, false>(input, work, out);
  }
  if (out.fraction) sum_partial(input, work.partial, out.fraction);
}

template <typename T>
void spline_second(const SplineInput<T>& input, const SplineCotangent<T>& cotangent, const SplineWorkspace<T>& work,
                   const SplineOutput<T>& out) {
  clear(input, out.table);
  const bool full = out.fraction || cotangent.table.values;
  for_tasks(input, true, [&](const Task& task) {
    full ? second_task<true>(input, cotangent, work, task, out) : second_task<false>(input, cotangent, work, task, out);
  });
  if (out.fraction) sum_partial(input, work.partial, out.fraction);
}

#define FLASHMD_INSTANTIATE(T)                                                                             \
  template void spline_convolve(const SplineInput<T>&, const SplineWorkspace<T>&, T*);                     \
  template void spline_first(const SplineInput<T>&, const SplineWorkspace<T>&, const SplineOutput<T>&);    \
  template void spline_second(const SplineInput<T>&, const SplineCotangent<T>&, const SplineWorkspace<T>&, \
                              const SplineOutput<T>&);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)
#undef FLASHMD_INSTANTIATE

}  // namespace flashmd::cpu::FLASHMD_ISA

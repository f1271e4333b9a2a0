// The terms of one slab, sixteen at a time.
//
// Terms gather the coordinates of their atoms and add their forces lane after lane. Rows of pairs, whose second atoms
// are neighbours in memory, need neither: they are read and written as vectors, and the force on the first atom stays
// in registers until the row ends.

#include "../priors.h"
#include "vector.h"

#if defined(FLASHMD_ISA_AVX512)
#include <immintrin.h>
#endif

namespace flashmd::cpu::FLASHMD_ISA {

template <typename N>
FLASHMD_INLINE Pack<N> square_root(Pack<N> x) {
  N lane[kLanes];
  store(lane, x);
  for (int i = 0; i < kLanes; ++i)
    lane[i] = sizeof(N) == 4 ? N(__builtin_sqrtf(float(lane[i]))) : N(__builtin_sqrt(lane[i]));
  return load(lane);
}

template <typename N>
FLASHMD_INLINE Pack<N> arc_tangent(const Pack<N>& y, const Pack<N>& x) {
  N rise[kLanes], run[kLanes];
  store(rise, y);
  store(run, x);
  for (int i = 0; i < kLanes; ++i) rise[i] = flashmd::arc_tangent(rise[i], run[i]);
  return load(rise);
}

// One over x to a unit in the last place.
template <typename N>
FLASHMD_INLINE Pack<N> reciprocal(const Pack<N>& x) {
#if defined(FLASHMD_ISA_AVX512)
  if constexpr (sizeof(N) == 4) {
    // A step of Newton's method doubles the fourteen bits of the estimate, at a quarter of the time of a division.
    Pack<N> guess;
    for (int i = 0; i < Pack<N>::kParts; ++i) guess.part[i] = _mm512_rcp14_ps(x.part[i]);
    return guess * (N(2) - x * guess);
  }
#endif
  return N(1) / x;
}

template <typename N>
FLASHMD_INLINE bool any(const Mask<N>& mask) {
  auto all = mask.part[0];
  for (int i = 1; i < Pack<N>::kParts; ++i) all |= mask.part[i];
  uint64_t words[kRegisterBytes / sizeof(uint64_t)], found = 0;
  memcpy(words, &all, sizeof words);
  for (uint64_t word : words) found |= word;
  return found != 0;
}

FLASHMD_INLINE Vec<double> widened(const Vec<double>& value) {
  return value;
}

FLASHMD_INLINE Vec<double> widened(const Vec<float>& value) {
  typedef float Half __attribute__((vector_size(kRegisterBytes / 2)));
  Half half[Vec<double>::kParts];
  memcpy(half, value.part, sizeof half);
  Vec<double> result;
  for (int i = 0; i < Vec<double>::kParts; ++i) {
    result.part[i] = __builtin_convertvector(half[i], Vec<double>::Register);
  }
  return result;
}

namespace {

// Parameters of a group of terms.
template <typename T>
struct Columns {
  const T* from;
  FLASHMD_INLINE Vec<T> operator()(int column) const { return load(from + column * kLanes); }
};

template <typename T>
class Slab {
public:
  Slab(const PriorPlan<T>& plan, const PriorTask<T>& task)
      : plan_(plan),
        task_(task),
        x_(task.positions),
        y_(x_ + task.stride),
        z_(y_ + task.stride),
        fx_(task.forces),
        fy_(fx_ + task.stride),
        fz_(fy_ + task.stride) {}

  void run() {
    for (const PriorRange* range = task_.begin; range < task_.end; ++range) {
      const PriorSection& section = plan_.sections[range->section];
#define FLASHMD_CALL(FORM)                                                             \
  case FORM:                                                                           \
    run_section<FORM>(section, static_cast<T>(plan_.cutoffs[range->section]), *range); \
    break;
      FLASHMD_FOR_PRIOR_FORM(static_cast<PriorForm>(section.form), FLASHMD_CALL)
#undef FLASHMD_CALL
    }
    *task_.energy = sum_of(energy_);
    for (int i = 0; task_.virial && i < 9; ++i) task_.virial[i] = sum_of(virial_[i]);
  }

private:
  static double sum_of(const double* lane) {
    double total = 0.0;
    for (int i = 0; i < kLanes; ++i) total += lane[i];
    return total;
  }

  FLASHMD_INLINE Point<Vec<T>> imaged(const Point<Vec<T>>& vector) const {
    return task_.images ? nearest_image(vector, *task_.images) : vector;
  }

  static FLASHMD_INLINE void accumulate(double* lanes, const Vec<T>& value, int n_lanes) {
    T lane[kLanes];
    store(lane, value);
    if (n_lanes == kLanes) {
      for (int i = 0; i < kLanes; ++i) lanes[i] += lane[i];
    } else {
      for (int i = 0; i < n_lanes; ++i) lanes[i] += lane[i];
    }
  }

  FLASHMD_INLINE void accumulate_virial(const Point<Vec<T>>& vector, const Point<Vec<T>>& gradient, int n_lanes) {
    const Vec<T> v[3] = {vector.x, vector.y, vector.z}, g[3] = {gradient.x, gradient.y, gradient.z};
    for (int a = 0; a < 3; ++a) {
      for (int b = 0; b < 3; ++b) accumulate(virial_[3 * a + b], v[a] * g[b], n_lanes);
    }
  }

  template <PriorForm kForm>
  void run_section(const PriorSection& section, T cutoff, const PriorRange& range) {
    if constexpr (order_of(kForm) == 2) {
      if (section.layout == static_cast<int64_t>(PriorLayout::rows)) return run_rows<kForm>(section, cutoff, range);
    }
    for (int64_t group = range.begin; group < range.end; ++group) run_terms<kForm>(section, cutoff, group);
  }

  template <PriorForm kForm>
  FLASHMD_INLINE void run_terms(const PriorSection& section, T cutoff, int64_t group) {
    constexpr int kOrder = order_of(kForm);
    const int32_t* index = plan_.index + section.index_begin + group * kOrder * kLanes;
    const int n_columns = static_cast<int>(section.n_columns);
    const Columns<T> columns{plan_.parameters + section.parameter_begin + group * n_columns * kLanes};
    const int64_t left = section.n_terms - group * kLanes;
    const int n_lanes = left < kLanes ? static_cast<int>(left) : kLanes;
    Point<Vec<T>> atoms[kOrder], vectors[kOrder - 1], forces[kOrder];
    for (int a = 0; a < kOrder; ++a) atoms[a] = gather(index + a * kLanes);
    displacements<kOrder>(atoms, vectors);
    for (int i = 0; i + 1 < kOrder; ++i) vectors[i] = imaged(vectors[i]);
    const auto result = contribution<kForm>(vectors, columns, n_columns, cutoff);
    accumulate(energy_, result.energy, n_lanes);
    if (task_.virial) {
      for (int i = 0; i + 1 < kOrder; ++i) accumulate_virial(vectors[i], result.gradient[i], n_lanes);
    }
    forces_of<kOrder>(result.gradient, forces);
    for (int a = 0; a < kOrder; ++a) scatter(index + a * kLanes, forces[a], n_lanes);
  }

  FLASHMD_INLINE Point<Vec<T>> gather(const int32_t* index) const {
    T x[kLanes], y[kLanes], z[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      x[i] = x_[index[i]];
      y[i] = y_[index[i]];
      z[i] = z_[index[i]];
    }
    return {load(x), load(y), load(z)};
  }

  FLASHMD_INLINE void scatter(const int32_t* index, const Point<Vec<T>>& force, int n_lanes) {
    T x[kLanes], y[kLanes], z[kLanes];
    store(x, force.x);
    store(y, force.y);
    store(z, force.z);
    for (int i = 0; i < n_lanes; ++i) {
      fx_[index[i]] += x[i];
      fy_[index[i]] += y[i];
      fz_[index[i]] += z[i];
    }
  }

  template <PriorForm kForm>
  FLASHMD_INLINE void run_rows(const PriorSection& section, T cutoff, const PriorRange& range) {
    const int32_t* index = plan_.index + section.index_begin;
    const T* parameters = plan_.parameters + section.parameter_begin;
    const int64_t n_columns = section.n_columns, end = range.end;
    Vec<double> energy{};
    for (int64_t group = range.begin; group < end;) {
      const int32_t i = index[2 * group];
      const Point<Vec<T>> centre{splat(x_[i]), splat(y_[i]), splat(z_[i])};
      Point<Vec<T>> force{};
      for (; group < end && index[2 * group] == i; ++group) {
        const Columns<T> columns{parameters + group * n_columns * kLanes};
        run_block<kForm>(columns, index[2 * group + 1], centre, cutoff, force, energy);
      }
      fx_[i] += sum(force.x);
      fy_[i] += sum(force.y);
      fz_[i] += sum(force.z);
    }
    store(energy_, load(energy_) + energy);
  }

  template <PriorForm kForm>
  FLASHMD_INLINE void run_block(const Columns<T>& columns, int32_t j, const Point<Vec<T>>& centre, T cutoff,
                                Point<Vec<T>>& force, Vec<double>& energy) {
    const Point<Vec<T>> vector = imaged(Point<Vec<T>>{load(x_ + j), load(y_ + j), load(z_ + j)} - centre);
    const Vec<T> one = splat(T(1)), first = columns(0), square = dot(vector, vector);
    // No term in this lane, which may even be the atom itself.
    const Vec<T> safe = choose(first > T(0), square, choose(first < T(0), square, one));
    if constexpr (has_cutoff(kForm)) {
      if (!any(safe < cutoff * cutoff)) return;
    }
    const auto term = pair_term<kForm>(safe, columns, cutoff);
    const Point<Vec<T>> gradient = vector * term.slope;
    energy += widened(term.energy);
    if (task_.virial) accumulate_virial(vector, gradient, kLanes);
    force = force + gradient;
    store(fx_ + j, load(fx_ + j) - gradient.x);
    store(fy_ + j, load(fy_ + j) - gradient.y);
    store(fz_ + j, load(fz_ + j) - gradient.z);
  }

  const PriorPlan<T>& plan_;
  const PriorTask<T>& task_;
  const T *const x_, *const y_, *const z_;
  T *const fx_, *const fy_, *const fz_;
  double energy_[kLanes] = {}, virial_[9][kLanes] = {};
};

}  // namespace

void prior_slab(const PriorPlan<float>& plan, const PriorTask<float>& task) {
  Slab<float>(plan, task).run();
}
void prior_slab(const PriorPlan<double>& plan, const PriorTask<double>& task) {
  Slab<double>(plan, task).run();
}

}  // namespace flashmd::cpu::FLASHMD_ISA

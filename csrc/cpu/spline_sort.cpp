// Sorts the pairs of a batch by the interval of their distance, within groups of atoms that stay in the cache.

#include <algorithm>
#include <limits>
#include <vector>

#include "parallel.h"
#include "spline.h"

namespace flashmd::cpu {
namespace {

// A group has so many pairs in an interval that its coefficients are loaded for several of them, and no more atoms than
// that needs: slices of sixteen channels of a few arrays then stay in the first levels of the cache.
constexpr int64_t kPairsPerInterval = 8;

struct Groups {
  std::vector<int32_t> first_atom, first_pair;
  int64_t size() const { return static_cast<int64_t>(first_atom.size()) - 1; }
};

// Cut the atoms into runs that no pair leaves.
Groups make_groups(const SplineSortInput& input) {
  std::vector<int32_t> crossing(input.n_atoms + 2, 0);
  for (int64_t e = 0; e < input.n_pairs; ++e) {
    const auto [low, high] = std::minmax(input.receiver[e], input.sender[e]);
    ++crossing[low + 1];
    --crossing[high + 1];
  }
  Groups groups{{0}, {0}};
  int64_t pair = 0;
  int32_t open = 0;
  for (int64_t atom = 1; atom < input.n_atoms; ++atom) {
    while (pair < input.n_pairs && input.receiver[pair] < atom) ++pair;
    open += crossing[atom];
    if (open == 0 && pair - groups.first_pair.back() >= kPairsPerInterval * input.n_intervals) {
      groups.first_atom.push_back(static_cast<int32_t>(atom));
      groups.first_pair.push_back(static_cast<int32_t>(pair));
    }
  }
  groups.first_atom.push_back(static_cast<int32_t>(input.n_atoms));
  groups.first_pair.push_back(static_cast<int32_t>(input.n_pairs));
  return groups;
}

template <typename T>
void intervals(const T* distance, const SplineSortInput& input, int64_t begin, int64_t end, int32_t* interval) {
  const T cutoff = static_cast<T>(input.cutoff), scale = static_cast<T>(input.n_intervals / input.cutoff);
  const int32_t n_intervals = static_cast<int32_t>(input.n_intervals);
  for (int64_t e = begin; e < end; ++e) {
    // Written so that a NaN counts as beyond the cutoff.
    const bool inside = distance[e] < cutoff;
    interval[e] = inside ? std::min(static_cast<int32_t>(distance[e] * scale), n_intervals - 1) : n_intervals;
  }
}

// Counting sort of the pairs of one group; stable.
void sort_group(const SplineSortInput& input, const std::vector<int32_t>& interval, int64_t begin, int64_t end,
                std::vector<int32_t>& place, int32_t* index) {
  place.assign(input.n_intervals + 2, 0);
  for (int64_t e = begin; e < end; ++e) ++place[interval[e] + 1];
  place[0] = static_cast<int32_t>(begin);
  for (int64_t i = 0; i <= input.n_intervals; ++i) place[i + 1] += place[i];
  for (int64_t e = begin; e < end; ++e) {
    const int64_t to = place[interval[e]]++;
    index[to] = static_cast<int32_t>(input.receiver[e]);
    index[input.n_pairs + to] = static_cast<int32_t>(input.sender[e]);
    index[2 * input.n_pairs + to] = interval[e];
    index[3 * input.n_pairs + to] = static_cast<int32_t>(e);
  }
}

}  // namespace

template <typename T>
void spline_sort(const T* distance, const SplineSortInput& input, int32_t* index, int32_t* groups) {
  const Groups found = make_groups(input);
  std::vector<int32_t> interval(input.n_pairs);
  parallel_for(found.size(), 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> place;
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = found.first_pair[g], last = found.first_pair[g + 1];
      intervals(distance, input, first, last, interval.data());
      sort_group(input, interval, first, last, place, index);
    }
  });
  const int64_t row = input.n_atoms + 2;
  std::fill_n(groups, row, static_cast<int32_t>(input.n_atoms));
  std::fill_n(groups + row, row, static_cast<int32_t>(input.n_pairs));
  std::copy(found.first_atom.begin(), found.first_atom.end(), groups);
  std::copy(found.first_pair.begin(), found.first_pair.end(), groups + row);
}

int64_t spline_groups(const int32_t* groups, int64_t n_atoms) {
  return std::find(groups + 1, groups + n_atoms + 1, static_cast<int32_t>(n_atoms)) - groups;
}

template void spline_sort(const float*, const SplineSortInput&, int32_t*, int32_t*);
template void spline_sort(const double*, const SplineSortInput&, int32_t*, int32_t*);

}  // namespace flashmd::cpu

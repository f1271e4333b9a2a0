// Neighbour search over cell lists, for open, periodic and partly periodic systems of one batch.
//
// Each system gets a grid of bins at least one cutoff wide where that pays. Periodic directions may have a single bin
// and still reach several images: walking over the edge of the grid adds a lattice vector. Small open systems are one
// bin, which is the plain loop over pairs.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels.h"
#include "parallel.h"

namespace flashmd::cpu {
namespace {

constexpr int64_t kChunk = 32;           // atoms searched into one buffer
constexpr int64_t kPlainLoopAtoms = 96;  // up to here the plain loop over an open system is faster than bins
constexpr double kMostCells = 1e9;       // farther from the origin, shifts leave 32 bits and coordinates mean nothing
constexpr int64_t kGrain = 64;           // atoms per thread at least

int floor_divide(int a, int b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

bool is_finite(const double x[3]) {
  return std::isfinite(x[0]) && std::isfinite(x[1]) && std::isfinite(x[2]);
}

}  // namespace

template <typename T>
NeighborSearch::NeighborSearch(const Batch<T>& batch, bool half)
    : cutoff_(batch.cutoff),
      half_(half),
      n_atoms_(batch.n_atoms),
      positions_(batch.positions, batch.positions + 3 * batch.n_atoms),
      fraction_(3 * batch.n_atoms),
      wrap_(3 * batch.n_atoms, 0),
      grids_(batch.n_systems),
      grid_of_atom_(batch.n_atoms, 0),
      bin_atoms_(batch.n_atoms),
      slot_of_atom_(batch.n_atoms),
      wrapped_(3 * batch.n_atoms) {
  for (int64_t atom = 0; atom < n_atoms_ && status_.bad_atom < 0; ++atom) {
    if (!is_finite(&positions_[3 * atom])) status_.bad_atom = atom;
  }
  int64_t n_bins = 0;
  for (int64_t system = 0; system < batch.n_systems && status_.bad_atom < 0; ++system) {
    Grid& grid = grids_[system];
    grid.first_atom = batch.ptr[system];
    grid.n_atoms = batch.ptr[system + 1] - batch.ptr[system];
    grid.lattice = make_lattice(batch.cell + 9 * system, batch.pbc + 3 * system);
    if (grid.lattice.singular) {
      status_.bad_system = system;
      return;
    }
    make_grid(grid);
    grid.first_bin = n_bins;
    n_bins += static_cast<int64_t>(grid.n_bins[0]) * grid.n_bins[1] * grid.n_bins[2] + 1;
    std::fill_n(grid_of_atom_.begin() + grid.first_atom, grid.n_atoms, static_cast<int32_t>(system));
  }
  if (status_.bad_atom >= 0) return;
  bin_start_.assign(n_bins, 0);
  for (const Grid& grid : grids_) sort_into_bins(grid);
  search();
}

// Fill in the coordinates of the atoms along one axis of the grid, fractional and wrapped along periodic directions and
// lengths along open ones, and return the length that the bins divide.
double NeighborSearch::fill_axis(Grid& grid, int k) {
  const bool periodic = grid.lattice.periodic[k];
  double low = 0.0, high = 0.0;
  for (int64_t atom = grid.first_atom; atom < grid.first_atom + grid.n_atoms; ++atom) {
    double f = fractional(grid.lattice, &positions_[3 * atom], k);
    if (periodic) {
      const double whole = std::floor(f);
      const bool too_far = std::fabs(whole) > kMostCells;
      if (too_far && (status_.bad_atom < 0 || atom < status_.bad_atom)) status_.bad_atom = atom;
      wrap_[3 * atom + k] = too_far ? 0 : static_cast<int32_t>(whole);
      f -= whole;
    }
    fraction_[3 * atom + k] = f;
    low = atom == grid.first_atom ? f : std::min(low, f);
    high = atom == grid.first_atom ? f : std::max(high, f);
  }
  grid.low[k] = periodic ? 0.0 : low;
  return periodic ? grid.lattice.height[k] : high - low;
}

// Choose bins at least one cutoff wide, no more of them than atoms, and how many bins away a neighbour can be.
void NeighborSearch::make_grid(Grid& grid) {
  double length[3];
  for (int k = 0; k < 3; ++k) {
    length[k] = fill_axis(grid, k);
    const bool bins_pay = grid.lattice.periodic[k] || grid.n_atoms > kPlainLoopAtoms;
    const double wanted = bins_pay ? std::floor(length[k] / cutoff_ * (1.0 - 1e-9)) : 1.0;
    grid.n_bins[k] = static_cast<int>(std::clamp(wanted, 1.0, 1024.0));
  }
  while (static_cast<int64_t>(grid.n_bins[0]) * grid.n_bins[1] * grid.n_bins[2] > std::max<int64_t>(grid.n_atoms, 1)) {
    int& largest = *std::max_element(grid.n_bins, grid.n_bins + 3);
    largest = (largest + 1) / 2;
  }
  for (int k = 0; k < 3; ++k) {
    const bool periodic = grid.lattice.periodic[k];
    const double width = length[k] / grid.n_bins[k];
    const bool alone = !periodic && grid.n_bins[k] == 1;
    grid.reach[k] = alone ? 0 : static_cast<int>(std::ceil(cutoff_ / width + 1e-9));
    grid.scale[k] = alone ? 0.0 : (periodic ? grid.n_bins[k] : 1.0 / width);
  }
  const auto first = positions_.begin() + 3 * grid.first_atom, last = first + 3 * grid.n_atoms;
  const double farthest =
      std::accumulate(first, last, 0.0, [](double m, double x) { return std::max(m, std::fabs(x)); });
  const double loose_cutoff = cutoff_ * (1.0 + 1e-9) + 1e-14 * farthest;
  grid.loose_limit = loose_cutoff * loose_cutoff;
}

int64_t NeighborSearch::bin_of(const Grid& grid, int64_t atom) const {
  int64_t bin = 0;
  for (int k = 0; k < 3; ++k) {
    const int index = static_cast<int>((fraction_[3 * atom + k] - grid.low[k]) * grid.scale[k]);
    bin = bin * grid.n_bins[k] + std::clamp(index, 0, grid.n_bins[k] - 1);
  }
  return bin;
}

// Counting sort: bin b of the grid holds bin_atoms_[start[b] .. start[b + 1]], atoms ascending.
void NeighborSearch::sort_into_bins(const Grid& grid) {
  const int64_t n_bins = static_cast<int64_t>(grid.n_bins[0]) * grid.n_bins[1] * grid.n_bins[2];
  int64_t* start = &bin_start_[grid.first_bin];
  const int64_t end = grid.first_atom + grid.n_atoms;
  for (int64_t atom = grid.first_atom; atom < end; ++atom) ++start[bin_of(grid, atom) + 1];
  start[0] = grid.first_atom;
  for (int64_t bin = 0; bin < n_bins; ++bin) start[bin + 1] += start[bin];
  std::vector<int64_t> cursor(start, start + n_bins);
  for (int64_t atom = grid.first_atom; atom < end; ++atom) place(grid, atom, cursor[bin_of(grid, atom)]++);
}

// Put the wrapped coordinates of an atom beside those of its bin.
void NeighborSearch::place(const Grid& grid, int64_t atom, int64_t slot) {
  bin_atoms_[slot] = atom;
  slot_of_atom_[atom] = slot;
  const int32_t* wrap = &wrap_[3 * atom];
  for (int d = 0; d < 3; ++d) {
    const double (*cell)[3] = grid.lattice.cell;
    wrapped_[3 * slot + d] =
        positions_[3 * atom + d] - (wrap[0] * cell[0][d] + wrap[1] * cell[1][d] + wrap[2] * cell[2][d]);
  }
}

void NeighborSearch::search() {
  chunks_.resize((n_atoms_ + kChunk - 1) / kChunk);
  row_count_.assign(n_atoms_, 0);
  parallel_for(static_cast<int64_t>(chunks_.size()), std::max<int64_t>(kGrain / kChunk, 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t chunk = begin; chunk < end; ++chunk) {
                   std::vector<Entry>& found = chunks_[chunk];
                   for (int64_t atom = chunk * kChunk; atom < std::min((chunk + 1) * kChunk, n_atoms_); ++atom) {
                     const size_t before = found.size();
                     search_atom(grids_[grid_of_atom_[atom]], atom, found);
                     row_count_[atom] = static_cast<int64_t>(found.size() - before);
                   }
                 }
               });
  for (const int64_t count : row_count_) status_.found += count;
}

void NeighborSearch::search_atom(const Grid& grid, int64_t atom, std::vector<Entry>& found) const {
  const auto before = static_cast<std::ptrdiff_t>(found.size());
  int home[3];
  int64_t bin = bin_of(grid, atom);
  for (int k = 2; k >= 0; --k) {
    home[k] = static_cast<int>(bin % grid.n_bins[k]);
    bin /= grid.n_bins[k];
  }
  int step[3], index[3];
  int32_t image[3];
  const auto enter = [&](int k) {
    const int target = home[k] + step[k];
    image[k] = grid.lattice.periodic[k] ? floor_divide(target, grid.n_bins[k]) : 0;
    index[k] = target - image[k] * grid.n_bins[k];
    return index[k] >= 0 && index[k] < grid.n_bins[k];
  };
  for (step[0] = -grid.reach[0]; step[0] <= grid.reach[0]; ++step[0]) {
    if (!enter(0)) continue;
    for (step[1] = -grid.reach[1]; step[1] <= grid.reach[1]; ++step[1]) {
      if (!enter(1)) continue;
      for (step[2] = -grid.reach[2]; step[2] <= grid.reach[2]; ++step[2]) {
        if (!enter(2)) continue;
        search_bin(grid, atom, (index[0] * grid.n_bins[1] + index[1]) * grid.n_bins[2] + index[2], image, found);
      }
    }
  }
  const auto less = [](const Entry& a, const Entry& b) {
    return a.sender != b.sender ? a.sender < b.sender
                                : std::lexicographical_compare(a.shift, a.shift + 3, b.shift, b.shift + 3);
  };
  if (!std::is_sorted(found.begin() + before, found.end(), less)) std::sort(found.begin() + before, found.end(), less);
}

void NeighborSearch::search_bin(const Grid& grid, int64_t atom, int64_t bin, const int32_t image[3],
                                std::vector<Entry>& found) const {
  const double* home = &wrapped_[3 * slot_of_atom_[atom]];
  double origin[3];
  for (int d = 0; d < 3; ++d) {
    const double (*cell)[3] = grid.lattice.cell;
    origin[d] = home[d] - (image[0] * cell[0][d] + image[1] * cell[1][d] + image[2] * cell[2][d]);
  }
  const int64_t* start = &bin_start_[grid.first_bin + bin];
  for (int64_t slot = start[0]; slot < start[1]; ++slot) {
    const double* y = &wrapped_[3 * slot];
    const double dx = y[0] - origin[0], dy = y[1] - origin[1], dz = y[2] - origin[2];
    if (dx * dx + dy * dy + dz * dz < grid.loose_limit) add_if_near(grid, atom, bin_atoms_[slot], image, found);
  }
}

// Decide from the coordinates as given, in an order of operations that both directions of a pair share.
void NeighborSearch::add_if_near(const Grid& grid, int64_t atom, int64_t other, const int32_t image[3],
                                 std::vector<Entry>& found) const {
  if (half_ && other < atom) return;
  Entry entry{other, {}};
  for (int d = 0; d < 3; ++d) entry.shift[d] = image[d] - wrap_[3 * other + d] + wrap_[3 * atom + d];
  const double distance = squared_distance(grid.lattice, &positions_[3 * atom], &positions_[3 * other], entry.shift);
  if (distance < cutoff_ * cutoff_ && is_wanted(atom, entry)) found.push_back(entry);
}

// An atom is no neighbour of itself. Of two opposite images of it a half list keeps that whose first shift is positive.
bool NeighborSearch::is_wanted(int64_t atom, const Entry& entry) const {
  if (entry.sender != atom) return true;
  const int32_t* shift = entry.shift;
  const int32_t leading = shift[0] != 0 ? shift[0] : shift[1] != 0 ? shift[1] : shift[2];
  return half_ ? leading > 0 : leading != 0;
}

void NeighborSearch::write(const NeighborOutput& out) const {
  out.row_ptr[0] = 0;
  for (int64_t atom = 0; atom < n_atoms_; ++atom) out.row_ptr[atom + 1] = out.row_ptr[atom] + row_count_[atom];
  parallel_for(static_cast<int64_t>(chunks_.size()), std::max<int64_t>(kGrain / kChunk, 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t chunk = begin; chunk < end; ++chunk) {
                   const Entry* entry = chunks_[chunk].data();
                   for (int64_t atom = chunk * kChunk; atom < std::min((chunk + 1) * kChunk, n_atoms_); ++atom) {
                     for (int64_t edge = out.row_ptr[atom]; edge < out.row_ptr[atom + 1]; ++edge, ++entry) {
                       out.receiver[edge] = atom;
                       out.sender[edge] = entry->sender;
                       for (int d = 0; d < 3; ++d) out.shift[3 * edge + d] = entry->shift[d];
                     }
                   }
                 }
               });
  if (half_) return write_columns(out);
  parallel_for(n_atoms_, kGrain, [&](int64_t begin, int64_t end) { write_transpose(out, begin, end); });
}

// Counting sort by sender; edges of one sender keep their order.
void NeighborSearch::write_columns(const NeighborOutput& out) const {
  std::fill_n(out.col_ptr, n_atoms_ + 1, 0);
  for (int64_t edge = 0; edge < status_.found; ++edge) ++out.col_ptr[out.sender[edge] + 1];
  for (int64_t atom = 0; atom < n_atoms_; ++atom) out.col_ptr[atom + 1] += out.col_ptr[atom];
  std::vector<int64_t> cursor(out.col_ptr, out.col_ptr + n_atoms_);
  for (int64_t edge = 0; edge < status_.found; ++edge) out.transpose[cursor[out.sender[edge]]++] = edge;
}

// A full list is symmetric, so row i, read as the reverse edges of its entries, is column i: sorted by their receiver,
// and within one pair of atoms in the order in which the other row holds them.
void NeighborSearch::write_transpose(const NeighborOutput& out, int64_t begin, int64_t end) const {
  for (int64_t atom = begin; atom < end; ++atom) {
    int64_t first = out.row_ptr[atom];
    while (first < out.row_ptr[atom + 1]) {
      const int64_t other = out.sender[first];
      const int64_t* row = out.sender + out.row_ptr[other];
      const int64_t* reverse =
          std::lower_bound(row, static_cast<const int64_t*>(out.sender + out.row_ptr[other + 1]), atom);
      int64_t edge = reverse - out.sender;
      for (; first < out.row_ptr[atom + 1] && out.sender[first] == other; ++first) out.transpose[first] = edge++;
    }
  }
}

template NeighborSearch::NeighborSearch(const Batch<float>&, bool);
template NeighborSearch::NeighborSearch(const Batch<double>&, bool);

}  // namespace flashmd::cpu

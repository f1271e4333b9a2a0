// CPU kernels. All arrays are contiguous and row-major; T is float or double. Every row of a result is computed by one
// thread in a fixed order, so results are bitwise independent of the number of threads.
#pragma once

#include <vector>

#include "../include/graph.h"
#include "../include/lattice.h"

namespace flashmd::cpu {

// out[i] = sum over the edges e of row i of features[other(e)] * filters[e]; [n_atoms, n_channels].
template <typename T>
void cfconv(const T* features, const T* filters, const Rows& rows, const Graph& graph, int64_t n_channels, T* out);

// out[e] = left[receiver(e)] * right[sender(e)]; [n_edges, n_channels].
template <typename T>
void edge_product(const T* left, const T* right, const Graph& graph, int64_t n_channels, T* out);

// out[e] = values[sender(e)] - values[receiver(e)]; [n_edges, n_channels].
template <typename T>
void edge_difference(const T* values, const Graph& graph, int64_t n_channels, T* out);

// out[i] = sum over e sent by i of values[e] - sum over e received by i of values[e]; [n_atoms, n_channels].
template <typename T>
void edge_divergence(const T* values, const Graph& graph, int64_t n_channels, T* out);

// out[s] = sum of the rows ptr[s] .. ptr[s + 1] of values; [n_segments, n_channels].
template <typename T>
void segment_sum(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out);

// Rows ptr[s] .. ptr[s + 1] of out are values[s]; [n_rows, n_channels].
template <typename T>
void segment_expand(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out);

template <typename T>
void philox_normal(const RandomRequest& request, T* out);
template <typename T>
void philox_uniform(const RandomRequest& request, T* out);

// How many atoms are farther than `limit` from where they were; one whose distance is not a number counts too.
template <typename T>
int64_t count_moved(const T* positions, const T* reference, int64_t n_atoms, double limit);

// All pairs of a batch within the cutoff, found once and written out once their number is known: both directions of
// each pair, or, as a half list, the one whose receiver comes first.
class NeighborSearch {
public:
  template <typename T>
  NeighborSearch(const Batch<T>& batch, bool half);
  const NeighborStatus& status() const { return status_; }
  void write(const NeighborOutput& out) const;

private:
  struct Grid {
    Lattice lattice;
    int64_t first_atom, n_atoms, first_bin;
    int n_bins[3], reach[3];
    double low[3], scale[3];
    double loose_limit;  // squared distance beyond which rounding cannot bring a pair within the cutoff
  };
  struct Entry {
    int64_t sender;
    int32_t shift[3];
  };

  double fill_axis(Grid& grid, int k);
  void make_grid(Grid& grid);
  void sort_into_bins(const Grid& grid);
  void place(const Grid& grid, int64_t atom, int64_t slot);
  int64_t bin_of(const Grid& grid, int64_t atom) const;
  void search();
  void search_atom(const Grid& grid, int64_t atom, std::vector<Entry>& found) const;
  void search_bin(const Grid& grid, int64_t atom, int64_t bin, const int32_t image[3], std::vector<Entry>& found) const;
  void add_if_near(const Grid& grid, int64_t atom, int64_t other, const int32_t image[3],
                   std::vector<Entry>& found) const;
  bool is_wanted(int64_t atom, const Entry& entry) const;
  void write_columns(const NeighborOutput& out) const;
  void write_transpose(const NeighborOutput& out, int64_t begin, int64_t end) const;

  double cutoff_;
  bool half_;
  int64_t n_atoms_;
  NeighborStatus status_{0, -1, -1};
  std::vector<double> positions_, fraction_;
  std::vector<int32_t> wrap_;
  std::vector<Grid> grids_;
  std::vector<int32_t> grid_of_atom_;
  std::vector<int64_t> bin_start_, bin_atoms_, slot_of_atom_;
  std::vector<double> wrapped_;  // coordinates inside the cell, in the order of bin_atoms_
  std::vector<int64_t> row_count_;
  std::vector<std::vector<Entry>> chunks_;
};

}  // namespace flashmd::cpu

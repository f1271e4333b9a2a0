// Messages over tabulated filters and their derivatives, for frozen tables: each atom gathers over its own pairs.
#pragma once

#include "launchers.h"

namespace flashmd::cuda {

// Channels are padded to slices of this many; a lane works on one channel of a slice.
constexpr int kSlice = 32;
// Numbers of one knot in the table of a slice: values, then derivatives by the fraction.
constexpr int kKnot = 2 * kSlice;

// Most threads of a block: registers allow no more.
template <typename T>
constexpr int kRowThreads = sizeof(T) == 4 ? 1024 : 512;

// A pair within the cutoff as its receiver sees it: the sender, the interval of the table and the place in it.
template <typename T>
struct alignas(16) RowPair {
  int32_t sender;
  int32_t interval;
  T fraction;
};

// Unit vector from receiver to sender, and the distance in nm.
template <typename T>
struct alignas(16) RowDirection {
  T x, y, z, distance;
};

// Pairs of every atom: those of row i begin at row_ptr[i], and the first row_count[i] of them are within the cutoff.
template <typename T>
struct RowPairs {
  const int32_t* row_ptr;  // [n_atoms + 1]
  int32_t* row_count;      // [n_atoms]
  RowPair<T>* pairs;       // [capacity]
  RowDirection<T>* directions;
};

template <typename T>
struct RowGeometry {
  const T* positions;     // [n_atoms, 3], nm
  const int64_t* batch;   // [n_atoms], system of each atom
  const T* cell;          // [n_systems, 3, 3], nm
  const int32_t* sender;  // [capacity]
  const int32_t* shift;   // [capacity, 3]; null where no system is periodic
  int64_t n_atoms;
  T cutoff;      // nm
  T per_length;  // intervals per nm
  int32_t n_intervals;
};

// What a block keeps in shared memory: a slice of the table, and of the features of one system.
enum class Keep : int { nothing = 0, table = 1, table_and_features = 2 };

// Blocks are (group of systems) x (part of the rows of each) x (slice of channels).
struct RowPlan {
  Keep keep;
  int32_t n_groups;
  int32_t n_parts;
  int32_t n_slices;
  int32_t n_threads;
  int32_t most_atoms;  // of one system
};

template <typename T>
struct RowTable {
  const T* knots;  // [n_slices, n_knots, 2, kSlice]
  int32_t n_knots;
};

struct RowSystems {
  const int64_t* ptr;  // [n_systems + 1]
  int64_t n_systems;
  int64_t n_atoms;
};

// Gradient of the energy with respect to the messages, and what it leads to.
template <typename T>
struct RowGradients {
  const T* features;   // [n_atoms, n_slices * kSlice], sent in the forward pass
  const T* gradients;  // [n_atoms, n_slices * kSlice]
  T* to_features;      // [n_atoms, n_slices * kSlice], gradient with respect to the features; null where not wanted
  T* forces;           // [n_slices, n_atoms, 3], kJ/mol/nm, shares of the slices
  T* virial;           // [n_slices, n_atoms, 6], kJ/mol, xx yy zz xy xz yz; null where not wanted
  T per_length;        // intervals per nm
  bool add;            // to forces and virial, otherwise write
};

template <typename T>
void row_geometry(const RowGeometry<T>& input, const RowPairs<T>& out, Stream stream);
template <typename T>
void row_convolve(const RowSystems& systems, const RowPairs<T>& rows, const RowTable<T>& table, const RowPlan& plan,
                  const T* features, T* out, Stream stream);
template <typename T>
void row_differentiate(const RowSystems& systems, const RowPairs<T>& rows, const RowTable<T>& table,
                       const RowPlan& plan, const RowGradients<T>& gradients, Stream stream);

}  // namespace flashmd::cuda

// Views of the tensors that the kernels work on; nothing here owns memory.
#pragma once

#include <cstdint>

namespace flashmd {

// Directed edges sorted by receiver, and the same edges sorted by sender through `transpose`.
struct Graph {
  const int64_t* receiver;   // [n_edges]
  const int64_t* sender;     // [n_edges]
  const int64_t* row_ptr;    // [n_atoms + 1]
  const int64_t* transpose;  // [n_edges]
  const int64_t* col_ptr;    // [n_atoms + 1]
  int64_t n_atoms;
  int64_t n_edges;
};

// One end of the graph: the edges of row i are edge_id[begin[i] .. begin[i + 1]], or that range itself without edge_id,
// and `other` is the atom at the far end of an edge.
struct Rows {
  const int64_t* begin;
  const int64_t* edge_id;
  const int64_t* other;
};

inline Rows by_receiver(const Graph& graph) {
  return {graph.row_ptr, nullptr, graph.sender};
}
inline Rows by_sender(const Graph& graph) {
  return {graph.col_ptr, graph.transpose, graph.receiver};
}

// Random numbers wanted: row i depends on (seed, stream[i], counter) only.
struct RandomRequest {
  uint64_t seed;
  uint64_t counter;
  const int64_t* stream;  // [n_rows]
  int64_t n_rows;
  int64_t n_columns;
};

// A batch of systems as the neighbour search sees it.
template <typename T>
struct Batch {
  const T* positions;  // [n_atoms, 3], nm
  const int64_t* ptr;  // [n_systems + 1]
  const T* cell;       // [n_systems, 3, 3], nm, rows are lattice vectors
  const bool* pbc;     // [n_systems, 3]
  int64_t n_atoms;
  int64_t n_systems;
  double cutoff;  // nm
};

struct NeighborOutput {
  int64_t* receiver;   // [n_edges]
  int64_t* sender;     // [n_edges]
  int64_t* shift;      // [n_edges, 3]
  int64_t* row_ptr;    // [n_atoms + 1]
  int64_t* transpose;  // [n_edges]
  int64_t* col_ptr;    // [n_atoms + 1]; null for a full list, whose columns have the bounds of its rows
};

// What a search reports: `found` edges, and the first atom or system that cannot be searched, or -1.
struct NeighborStatus {
  int64_t found;
  int64_t bad_atom;
  int64_t bad_system;
};

}  // namespace flashmd

// Neighbour list that lives on the device: bounded memory, no look at it by the host, rebuilt where atoms moved.
#pragma once

#include "launchers.h"

namespace flashmd::cuda {

// All directed pairs within the reach of the list, sorted by receiver, sender and shift.
template <typename T>
struct RowList {
  T* reference;      // [n_atoms, 3], positions at the last build, nm
  int32_t* row_ptr;  // [n_atoms + 1]
  int32_t* sender;   // [capacity]
  int32_t* shift;    // [capacity, 3]; null where no system is periodic
  int64_t* state;    // [kRowListState]
  int64_t capacity;
};

// Places of the state. Rows of a list that found more pairs than it can hold are cut short: such a list, and one that
// met a bad atom or cell, must not be used.
enum RowListPlace : int {
  kMoved,      // whether some atom has moved too far; set it to build the list in any case
  kRebuild,    // whether the present update builds the list
  kFound,      // pairs found in the last build
  kBadAtom,    // first atom that could not be placed in the last build, or -1
  kBadSystem,  // first system with a singular cell in the last build, or -1
  kBuilds,     // number of builds
  kRowListState
};

// Build the list if some atom has moved by more than half the skin. `batch.cutoff` is the reach, skin included.
template <typename T>
void row_list_update(const Batch<T>& batch, double skin, const RowList<T>& list, Stream stream);

}  // namespace flashmd::cuda

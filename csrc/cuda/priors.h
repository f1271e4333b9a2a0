// Analytic terms of a batch on a CUDA device.
//
// Every atom sums the forces of its own terms, which it finds through an inverted index, and its share of the energy;
// then every system sums the shares of its atoms. No atomics, no allocation: the same bits in every run.
#pragma once

#include "../include/prior_batch.h"
#include "../include/prior_forms.h"
#include "launchers.h"

namespace flashmd::cuda {

// Terms of one form and one template; a row of an int64 tensor. All `begin` count from the start of the array `index`
// or `parameters`. For the terms of atom a, entries rows_begin[a] .. rows_begin[a + 1] of the section count.
//   pairs: entries [n_entries] are the other atoms, parameters [n_columns, n_entries];
//   others: entries are term * order + position of the atom in the term, atoms of the terms [order, n_terms],
//   parameters [n_columns, n_terms].
struct PriorSection {
  int64_t form, n_columns, n_items, index_begin, parameter_begin, rows_begin, entries_begin;
};
constexpr int64_t kPriorSectionColumns = sizeof(PriorSection) / sizeof(int64_t);

template <typename T>
struct PriorPlan {
  const int32_t* index;
  const T* parameters;
  const PriorSection* sections;
  const double* cutoffs;        // [n_sections], nm
  const int64_t* template_ptr;  // [n_templates + 1], bounds in sections
  const int64_t* template_of;   // [n_systems]
};

// `scratch` holds one number for each atom, or ten where the virial is wanted.
template <typename T>
void prior_terms(const PriorBatch<T>& batch, const PriorPlan<T>& plan, const PriorOutput<T>& out, double* scratch,
                 Stream stream);

}  // namespace flashmd::cuda

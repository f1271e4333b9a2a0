// Analytic terms of a batch on the CPU.
//
// Systems with the same lists, types and parameters share one template. The terms of a template are cut into a fixed
// number of slabs; every slab adds up forces of its own, and these are summed in order. Results are therefore bitwise
// independent of the number of threads and of the other systems of the batch.
#pragma once

#include <cstdint>

#include "../include/prior_batch.h"
#include "../include/prior_forms.h"
#include "isa.h"

namespace flashmd::cpu {

// How the terms of a section are laid out, sixteen at a time.
enum class PriorLayout : int64_t {
  terms = 0,  // atoms [n_groups, order, 16], parameters [n_groups, n_columns, 16]
  rows = 1,   // pairs of atom i with the atoms j, j + 1 .. j + 15: (i, j) [n_groups, 2], parameters as above
};

// Terms of one form and one template; a row of an int64 tensor.
struct PriorSection {
  int64_t form, layout, n_columns, n_terms, index_begin, parameter_begin;
};
constexpr int64_t kPriorSectionColumns = sizeof(PriorSection) / sizeof(int64_t);

// The groups [begin, end) of a section.
struct PriorRange {
  int64_t section, begin, end;
};

template <typename T>
struct PriorPlan {
  const int32_t* index;
  const T* parameters;
  const PriorSection* sections;
  const double* cutoffs;        // [n_sections], nm
  const PriorRange* ranges;     // by template and slab
  const int64_t* slab_ptr;      // [n_slabs + 1], bounds in ranges
  const int64_t* template_ptr;  // [n_templates + 1], bounds in slab_ptr
  const int64_t* template_of;   // [n_systems]
};

// One slab of one system. Coordinates and forces are three rows of `stride` numbers, a multiple of sixteen.
template <typename T>
struct PriorTask {
  const T* positions;
  T* forces;
  int64_t stride;
  const Images<T>* images;  // or nullptr where nothing is periodic
  double* energy;
  double* virial;  // nine numbers, or nullptr
  const PriorRange *begin, *end;
};

template <typename T>
void prior_terms(const PriorBatch<T>& batch, const PriorPlan<T>& plan, const PriorOutput<T>& out, InstructionSet level);

#define FLASHMD_DECLARE(ISA)                                           \
  namespace ISA {                                                      \
  void prior_slab(const PriorPlan<float>&, const PriorTask<float>&);   \
  void prior_slab(const PriorPlan<double>&, const PriorTask<double>&); \
  }
FLASHMD_ISA_NAMESPACES(FLASHMD_DECLARE)
#undef FLASHMD_DECLARE

}  // namespace flashmd::cpu

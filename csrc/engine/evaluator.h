// Energy and forces of a compiled potential for one system whose positions change from step to step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model.h"

namespace flashmd::engine {

struct EvaluatorOptions {
  std::vector<int> particles;  // which of the particles the model's atoms are; empty for all in order
  bool periodic = false;
  int n_threads = 1;
};

// Has lists and memory of its own, so each context and thread needs one.
class Evaluator {
public:
  // Read a compiled potential; see Container for `wanted_hash`.
  static std::unique_ptr<Evaluator> open(const std::string& path, const std::string& wanted_hash, int64_t n_particles,
                                         const EvaluatorOptions& options);
  virtual ~Evaluator() = default;

  // Return the energy, kJ/mol.
  //
  //   positions  [n_particles, 3], nm, any image of a periodic system
  //   cell       [3, 3], nm, rows are lattice vectors; read where the system is periodic
  //   forces     [n_particles, 3], kJ/mol/nm, written for the model's atoms only
  virtual double evaluate(const double* positions, const double* cell, double* forces) = 0;

  const std::string& name() const { return head_.name; }

protected:
  Evaluator(ModelHead head, const EvaluatorOptions& options);

  const ModelHead head_;
  const EvaluatorOptions options_;
};

}  // namespace flashmd::engine

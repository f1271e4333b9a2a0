// A compiled potential for one list of atoms, read from a file; constant and shared by all who evaluate it.
#pragma once

#include <memory>
#include <optional>

#include "../cpu/priors.h"
#include "../cpu/schnet.h"
#include "container.h"

namespace flashmd::engine {

// A network with the reach of its neighbour list.
template <typename T>
struct Network {
  cpu::SchNetModel<T> model;
  double cutoff, skin;                 // nm
  std::shared_ptr<CacheLine[]> tiles;  // what the model's tiles point to, where this processor multiplies them
};

// A summand of the energy: a network, or without one a constant, such as the energies of free atoms.
template <typename T>
struct Term {
  std::optional<Network<T>> network;
  double energy;  // kJ/mol
};

// What does not depend on the type of the numbers.
struct ModelHead {
  Container file;
  std::string name;
  std::span<const int64_t> types;
  std::span<const double> masses;  // Da
  bool double_precision;

  ModelHead(const std::string& path, const std::string& wanted_hash);
};

// Views of the arrays of a file.
template <typename T>
struct Model {
  std::vector<Term<T>> terms;
  std::optional<cpu::PriorPlan<T>> priors;

  explicit Model(const ModelHead& head);
};

extern template struct Model<float>;
extern template struct Model<double>;

}  // namespace flashmd::engine

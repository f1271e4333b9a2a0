#include "evaluator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "cache_line.h"
#include "pair_list.h"
#include "thread_pool.h"

namespace flashmd::engine {
namespace {

// Memory that grows.
template <typename T>
class Workspace {
public:
  T* at_least(int64_t n_numbers) {
    const size_t n_lines = cache_lines<T>(n_numbers);
    if (lines_.size() < n_lines) lines_.resize(n_lines + n_lines / 8);
    return reinterpret_cast<T*>(lines_.data());
  }

private:
  std::vector<CacheLine> lines_;
};

template <typename T>
class TypedEvaluator final : public Evaluator {
public:
  TypedEvaluator(ModelHead head, const EvaluatorOptions& options)
      : Evaluator(std::move(head), options),
        model_(head_),
        n_atoms_(static_cast<int64_t>(head_.types.size())),
        ptr_{0, n_atoms_},
        pbc_{options.periodic, options.periodic, options.periodic},
        positions_(3 * n_atoms_),
        forces_(3 * n_atoms_),
        part_(3 * n_atoms_),
        pool_(options.n_threads) {
    for (const Term<T>& term : model_.terms) {
      lists_.emplace_back(term.network ? term.network->cutoff : 1.0, term.network ? term.network->skin : 0.0);
    }
  }

  double evaluate(const double* positions, const double* cell, double* forces) override {
    const PoolScope scope(pool_);
    for (int64_t atom = 0; atom < n_atoms_; ++atom) {
      for (int64_t d = 0; d < 3; ++d) positions_[3 * atom + d] = static_cast<T>(positions[3 * particle(atom) + d]);
    }
    for (int i = 0; options_.periodic && i < 9; ++i) cell_[i] = static_cast<T>(cell[i]);
    std::fill(forces_.begin(), forces_.end(), T(0));
    double energy = 0.0;
    for (size_t i = 0; i < model_.terms.size(); ++i) {
      const Term<T>& term = model_.terms[i];
      energy += term.network ? add(evaluate_network(*term.network, lists_[i])) : term.energy;
    }
    if (model_.priors) energy += add(evaluate_priors());
    check_finite(energy);
    for (int64_t atom = 0; atom < n_atoms_; ++atom) {
      for (int64_t d = 0; d < 3; ++d) forces[3 * particle(atom) + d] = static_cast<double>(forces_[3 * atom + d]);
    }
    return energy;
  }

private:
  int64_t particle(int64_t atom) const { return options_.particles.empty() ? atom : options_.particles[atom]; }

  // Add the forces of a part to those before it, in the order of flashmd.potential.base.sum_evaluations.
  double add(double energy) {
    for (size_t i = 0; i < forces_.size(); ++i) forces_[i] += part_[i];
    return energy;
  }

  double evaluate_network(const Network<T>& network, PairList<T>& list) {
    bool singular = false;
    const int64_t bad = list.update({positions_.data(), n_atoms_, cell_, pbc_}, singular);
    if (bad >= 0) {
      throw Error("positions of particle " + std::to_string(particle(bad)), "finite numbers within 10^9 cells",
                  "others", "reduce the time step, or repair the coordinates");
    }
    if (singular) {
      throw Error("the periodic box", "independent box vectors", "singular ones",
                  "set the box, or use no periodic one");
    }
    const int64_t pair_ptr[2] = {0, list.n_pairs()};
    const cpu::SchNetBatch<T> batch{positions_.data(), head_.types.data(), ptr_,    list.receiver(),
                                    list.sender(),     list.image(),       pair_ptr};
    double energy = 0.0;
    const cpu::SchNetResult<T> result{&energy, part_.data(), nullptr};
    const cpu::SchNetGroup group{0, 1, 0, n_atoms_, 0, list.n_pairs()};
    const int64_t n_threads = cpu::worth_a_team(network.model.sizes, group) ? pool_.n_threads() : 1;
    T* space = workspace_.at_least(cpu::schnet_workspace_size<T>(network.model, n_atoms_, list.n_pairs(), n_threads));
    FLASHMD_DISPATCH(level_, evaluate_schnet<T>, network.model, batch, group, result, space, n_threads);
    return energy;
  }

  double evaluate_priors() {
    double energy = 0.0;
    const PriorBatch<T> batch{positions_.data(), ptr_, cell_, pbc_, 1, n_atoms_};
    cpu::prior_terms(batch, *model_.priors, PriorOutput<T>{&energy, part_.data(), nullptr}, level_);
    return energy;
  }

  void check_finite(double energy) const {
    bool finite = std::isfinite(energy);
    for (const T force : forces_) finite &= std::fabs(force) <= std::numeric_limits<T>::max();
    if (!finite) refuse_result();
  }

  [[noreturn]] void refuse_result() const {
    double largest = 0.0;
    int64_t bad = -1;
    for (int64_t atom = n_atoms_ - 1; atom >= 0; --atom) {
      const T* f = &forces_[3 * atom];
      const double size = std::hypot(static_cast<double>(f[0]), static_cast<double>(f[1]), static_cast<double>(f[2]));
      bad = std::isfinite(size) ? bad : atom;
      largest = std::isfinite(size) ? std::max(largest, size) : largest;
    }
    const std::string where = bad < 0 ? "energy" : "force on particle " + std::to_string(particle(bad));
    throw Error(where, "finite numbers", "others (largest finite force " + std::to_string(largest) + " kJ/mol/nm)",
                "reduce the time step, or check that the model covers these configurations");
  }

  const Model<T> model_;
  const int64_t n_atoms_;
  const int64_t ptr_[2];
  const bool pbc_[3];
  T cell_[9] = {};
  std::vector<T> positions_, forces_, part_;
  std::vector<PairList<T>> lists_;
  Workspace<T> workspace_;
  ThreadPool pool_;
  const cpu::InstructionSet level_ = cpu::choose_instruction_set(-1);
};

void check_particles(const ModelHead& head, int64_t n_particles, const EvaluatorOptions& options) {
  const int64_t n_atoms = static_cast<int64_t>(head.types.size());
  const int64_t n_given = options.particles.empty() ? n_particles : static_cast<int64_t>(options.particles.size());
  const std::string whose = "particles of model '" + head.name + "'";
  if (n_given != n_atoms) {
    throw Error(whose, std::to_string(n_atoms), std::to_string(n_given),
                "pass the particles that the compiled model was made for");
  }
  std::vector<int> sorted(options.particles);
  std::sort(sorted.begin(), sorted.end());
  const bool distinct = std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  if (!distinct || (!sorted.empty() && (sorted.front() < 0 || sorted.back() >= n_particles))) {
    throw Error(whose, "different ones of the " + std::to_string(n_particles) + " of the system", "others",
                "list each particle once");
  }
}

}  // namespace

Evaluator::Evaluator(ModelHead head, const EvaluatorOptions& options) : head_(std::move(head)), options_(options) {}

std::unique_ptr<Evaluator> Evaluator::open(const std::string& path, const std::string& wanted_hash, int64_t n_particles,
                                           const EvaluatorOptions& options) {
  ModelHead head(path, wanted_hash);
  check_particles(head, n_particles, options);
  if (options.n_threads < 1) {
    throw Error("number of threads", "at least 1", std::to_string(options.n_threads), "pass a positive number");
  }
  if (head.double_precision) return std::make_unique<TypedEvaluator<double>>(std::move(head), options);
  return std::make_unique<TypedEvaluator<float>>(std::move(head), options);
}

}  // namespace flashmd::engine

// Which thread evaluates which slab. The order of all sums is the same however the slabs are shared out.

#include "priors.h"

#include <vector>

#include "parallel.h"

namespace flashmd::cpu {
namespace {

constexpr int64_t kLanes = 16;
// Fewer systems than this are cut into slabs that run side by side.
constexpr int64_t kFewSystems = 16;

template <typename T>
class PriorEvaluation {
public:
  PriorEvaluation(const PriorBatch<T>& batch, const PriorPlan<T>& plan, const PriorOutput<T>& out, InstructionSet level)
      : batch_(batch), plan_(plan), out_(out), level_(level) {}

  void run() const {
    const int64_t work = total_work();
    if (batch_.n_systems < kFewSystems && work > kTaskWork) {
      run_slabs();
    } else {
      run_systems(grain_for(batch_.n_systems, work * kLanes));
    }
  }

private:
  // Groups of terms that keep one thread busy for some ten microseconds.
  static constexpr int64_t kTaskWork = 512;

  // Numbers of one slab: forces by component, each component padded to whole vectors.
  struct Results {
    std::vector<T> forces;
    double energy, virial[9] = {};
  };
  // What all slabs of a system read.
  struct Input {
    std::vector<T> positions;
    int64_t stride;
    Images<T> images;
    bool periodic;
  };

  int64_t first_slab(int64_t system) const { return plan_.template_ptr[plan_.template_of[system]]; }
  int64_t last_slab(int64_t system) const { return plan_.template_ptr[plan_.template_of[system] + 1]; }

  int64_t total_work() const {
    int64_t work = 0;
    for (int64_t system = 0; system < batch_.n_systems; ++system) {
      const PriorRange* end = plan_.ranges + plan_.slab_ptr[last_slab(system)];
      for (const PriorRange* range = plan_.ranges + plan_.slab_ptr[first_slab(system)]; range < end; ++range) {
        work += range->end - range->begin;
      }
    }
    return work;
  }

  void read(int64_t system, Input& input) const {
    const int64_t begin = batch_.ptr[system], n_atoms = batch_.ptr[system + 1] - begin;
    input.stride = (n_atoms + kLanes - 1) / kLanes * kLanes;
    input.positions.assign(3 * input.stride, T(0));
    for (int64_t atom = 0; atom < n_atoms; ++atom) {
      for (int64_t d = 0; d < 3; ++d) {
        input.positions[d * input.stride + atom] = batch_.positions[3 * (begin + atom) + d];
      }
    }
    const bool* pbc = batch_.pbc + 3 * system;
    input.periodic = pbc[0] || pbc[1] || pbc[2];
    if (input.periodic) input.images = make_images(batch_.cell + 9 * system, pbc);
  }

  void run_slab(int64_t slab, const Input& input, Results& results) const {
    results.forces.assign(3 * input.stride, T(0));
    const PriorTask<T> task{input.positions.data(),
                            results.forces.data(),
                            input.stride,
                            input.periodic ? &input.images : nullptr,
                            &results.energy,
                            out_.virial ? results.virial : nullptr,
                            plan_.ranges + plan_.slab_ptr[slab],
                            plan_.ranges + plan_.slab_ptr[slab + 1]};
    FLASHMD_DISPATCH(level_, prior_slab, plan_, task);
  }

  void clear(const Input& input, Results& total) const {
    total.forces.assign(3 * input.stride, T(0));
    total.energy = 0.0;
    for (double& each : total.virial) each = 0.0;
  }

  static void add(const Results& part, Results& total) {
    const T* from = part.forces.data();
    T* to = total.forces.data();
    const int64_t n_numbers = static_cast<int64_t>(total.forces.size());
    for (int64_t i = 0; i < n_numbers; ++i) to[i] += from[i];
    total.energy += part.energy;
    for (int i = 0; i < 9; ++i) total.virial[i] += part.virial[i];
  }

  void write(int64_t system, const Input& input, const Results& total) const {
    out_.energy[system] = total.energy;
    for (int i = 0; out_.virial && i < 9; ++i) out_.virial[9 * system + i] = total.virial[i];
    const int64_t begin = batch_.ptr[system], n_atoms = batch_.ptr[system + 1] - begin;
    for (int64_t d = 0; d < 3; ++d) {
      const T* from = total.forces.data() + d * input.stride;
      for (int64_t atom = 0; atom < n_atoms; ++atom) out_.forces[3 * (begin + atom) + d] = from[atom];
    }
  }

  void run_systems(int64_t grain) const {
    parallel_for(batch_.n_systems, grain, [&](int64_t begin, int64_t end) {
      Input input;
      Results part, total;
      for (int64_t system = begin; system < end; ++system) {
        read(system, input);
        clear(input, total);
        for (int64_t slab = first_slab(system); slab < last_slab(system); ++slab) {
          run_slab(slab, input, part);
          add(part, total);
        }
        write(system, input, total);
      }
    });
  }

  // Slabs of one system stand side by side, in their order.
  void run_slabs() const {
    std::vector<Input> inputs(batch_.n_systems);
    std::vector<int64_t> system_of, slab_of;
    for (int64_t system = 0; system < batch_.n_systems; ++system) {
      read(system, inputs[system]);
      for (int64_t slab = first_slab(system); slab < last_slab(system); ++slab) {
        system_of.push_back(system);
        slab_of.push_back(slab);
      }
    }
    const int64_t n_tasks = static_cast<int64_t>(slab_of.size());
    std::vector<Results> parts(n_tasks);
    parallel_for(n_tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) run_slab(slab_of[task], inputs[system_of[task]], parts[task]);
    });
    Results total;
    for (int64_t system = 0, task = 0; system < batch_.n_systems; ++system) {
      clear(inputs[system], total);
      for (; task < n_tasks && system_of[task] == system; ++task) add(parts[task], total);
      write(system, inputs[system], total);
    }
  }

  const PriorBatch<T>& batch_;
  const PriorPlan<T>& plan_;
  const PriorOutput<T>& out_;
  const InstructionSet level_;
};

}  // namespace

template <typename T>
void prior_terms(const PriorBatch<T>& batch, const PriorPlan<T>& plan, const PriorOutput<T>& out,
                 InstructionSet level) {
  PriorEvaluation<T>(batch, plan, out, level).run();
}

template void prior_terms(const PriorBatch<float>&, const PriorPlan<float>&, const PriorOutput<float>&, InstructionSet);
template void prior_terms(const PriorBatch<double>&, const PriorPlan<double>&, const PriorOutput<double>&,
                          InstructionSet);

}  // namespace flashmd::cpu

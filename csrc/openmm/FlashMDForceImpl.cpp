#include "FlashMDForceImpl.h"

#include <algorithm>

#include "openmm/System.h"
#include "openmm/internal/ContextImpl.h"

namespace FlashMD {

void FlashMDForceImpl::initialize(OpenMM::ContextImpl& context) {
  withOpenMMErrors([&] {
    const int n_particles = context.getSystem().getNumParticles();
    evaluator_ = flashmd::engine::Evaluator::open(
        owner_.getModelPath(), owner_.getSHA256(), n_particles,
        {owner_.getParticles(), owner_.usesPeriodicBoundaryConditions(), owner_.getNumThreads()});
  });
  CustomCPPForceImpl::initialize(context);
}

double FlashMDForceImpl::computeForce(OpenMM::ContextImpl& context, const std::vector<OpenMM::Vec3>& positions,
                                      std::vector<OpenMM::Vec3>& forces) {
  static_assert(sizeof(OpenMM::Vec3) == 3 * sizeof(double), "positions and forces are read as rows of three numbers");
  OpenMM::Vec3 box[3];
  if (owner_.usesPeriodicBoundaryConditions()) context.getPeriodicBoxVectors(box[0], box[1], box[2]);
  std::fill(forces.begin(), forces.end(), OpenMM::Vec3());
  try {
    return evaluator_->evaluate(reinterpret_cast<const double*>(positions.data()), &box[0][0],
                                reinterpret_cast<double*>(forces.data()));
  } catch (const flashmd::engine::Error& error) {
    throw OpenMM::OpenMMException("FlashMDForce with model '" + evaluator_->name() + "' at step " +
                                  std::to_string(context.getStepCount()) + ": " + error.what());
  }
}

}  // namespace FlashMD

#include "include/FlashMDForce.h"

#include "../engine/model.h"
#include "FlashMDForceImpl.h"

namespace FlashMD {

FlashMDForce::FlashMDForce(const std::string& modelPath, const std::string& sha256)
    : modelPath_(modelPath), sha256_(sha256) {
  setName("FlashMDForce");
}

const std::string& FlashMDForce::getModelPath() const {
  return modelPath_;
}

const std::string& FlashMDForce::getSHA256() const {
  return sha256_;
}

std::vector<double> FlashMDForce::getModelMasses() const {
  return withOpenMMErrors([&] {
    const flashmd::engine::ModelHead head(modelPath_, sha256_);
    return std::vector<double>(head.masses.begin(), head.masses.end());
  });
}

const std::vector<int>& FlashMDForce::getParticles() const {
  return particles_;
}

void FlashMDForce::setParticles(const std::vector<int>& particles) {
  particles_ = particles;
}

bool FlashMDForce::usesPeriodicBoundaryConditions() const {
  return periodic_;
}

void FlashMDForce::setUsesPeriodicBoundaryConditions(bool periodic) {
  periodic_ = periodic;
}

int FlashMDForce::getNumThreads() const {
  return numThreads_;
}

void FlashMDForce::setNumThreads(int number) {
  numThreads_ = number;
}

OpenMM::ForceImpl* FlashMDForce::createImpl() const {
  return new FlashMDForceImpl(*this);
}

}  // namespace FlashMD

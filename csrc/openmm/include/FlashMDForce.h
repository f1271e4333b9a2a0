// A force of OpenMM whose energy is a compiled potential of flashmd.
#pragma once

#include <string>
#include <vector>

#include "openmm/Force.h"
#include "openmm/internal/ForceImpl.h"

#define FLASHMD_OPENMM_EXPORT __attribute__((visibility("default")))

namespace FlashMD {

class FLASHMD_OPENMM_EXPORT FlashMDForce : public OpenMM::Force {
public:
  // `modelPath` is a file that flashmd.interfaces.openmm.write_compiled wrote. Contexts refuse it where its SHA-256, 64
  // hexadecimal digits, is not `sha256`; an empty one allows any file.
  explicit FlashMDForce(const std::string& modelPath, const std::string& sha256 = "");

  const std::string& getModelPath() const;
  const std::string& getSHA256() const;

  // Masses of the model's particles, Da, read from the file.
  std::vector<double> getModelMasses() const;

  // Which particles of the System the model's are; empty for all of them in order.
  const std::vector<int>& getParticles() const;
  void setParticles(const std::vector<int>& particles);

  bool usesPeriodicBoundaryConditions() const override;
  void setUsesPeriodicBoundaryConditions(bool periodic);

  // Threads that evaluate the model, 1 by default. Results do not depend on it.
  int getNumThreads() const;
  void setNumThreads(int number);

protected:
  OpenMM::ForceImpl* createImpl() const override;

private:
  std::string modelPath_, sha256_;
  std::vector<int> particles_;
  bool periodic_ = false;
  int numThreads_ = 1;
};

}  // namespace FlashMD

// Molecular dynamics of a compiled potential in C++: no Python, no torch.
//
//     simulate MODEL.flashmd POSITIONS.txt N_STEPS
//
// POSITIONS.txt holds x y z of every particle in nm. README.md says how to build this.

#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "FlashMDForce.h"
#include "OpenMM.h"

void simulate(const std::string& model, const std::string& start, int n_steps) {
  auto* force = new FlashMD::FlashMDForce(model);
  OpenMM::System system;
  system.addForce(force);
  for (const double mass : force->getModelMasses()) system.addParticle(mass);

  std::vector<OpenMM::Vec3> positions(system.getNumParticles());
  std::ifstream file(start);
  for (OpenMM::Vec3& x : positions) file >> x[0] >> x[1] >> x[2];
  if (!file) throw OpenMM::OpenMMException(start + ": expected three numbers for each particle");

  OpenMM::LangevinMiddleIntegrator integrator(300.0, 1.0, 0.002);
  OpenMM::Context context(system, integrator, OpenMM::Platform::getPlatform("Reference"));
  context.setPositions(positions);
  context.setVelocitiesToTemperature(300.0);
  integrator.step(n_steps);
  const OpenMM::State state = context.getState(OpenMM::State::Energy);
  std::cout << "potential energy after " << state.getTime() << " ps: " << state.getPotentialEnergy() << " kJ/mol\n";
}

int main(int n_arguments, char** arguments) try {
  if (n_arguments != 4) throw OpenMM::OpenMMException("usage: simulate MODEL.flashmd POSITIONS.txt N_STEPS");
  simulate(arguments[1], arguments[2], std::stoi(arguments[3]));
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}

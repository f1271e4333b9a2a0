// FlashMDForce as XML: where its model is and how the force uses it. Loading the library registers it.

#include <memory>

#include "include/FlashMDForce.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"

namespace FlashMD {
namespace {

constexpr int kVersion = 1;

class FlashMDForceProxy : public OpenMM::SerializationProxy {
public:
  FlashMDForceProxy() : SerializationProxy("FlashMDForce") {}

  void serialize(const void* object, OpenMM::SerializationNode& node) const override {
    const FlashMDForce& force = *static_cast<const FlashMDForce*>(object);
    node.setIntProperty("version", kVersion);
    node.setIntProperty("forceGroup", force.getForceGroup());
    node.setStringProperty("name", force.getName());
    node.setStringProperty("modelPath", force.getModelPath());
    node.setStringProperty("sha256", force.getSHA256());
    node.setBoolProperty("usesPeriodic", force.usesPeriodicBoundaryConditions());
    node.setIntProperty("numThreads", force.getNumThreads());
    OpenMM::SerializationNode& particles = node.createChildNode("Particles");
    for (const int index : force.getParticles()) particles.createChildNode("Particle").setIntProperty("index", index);
  }

  void* deserialize(const OpenMM::SerializationNode& node) const override {
    const int version = node.getIntProperty("version");
    if (version != kVersion) {
      throw OpenMM::OpenMMException("FlashMDForce in XML: expected version " + std::to_string(kVersion) + ", got " +
                                    std::to_string(version) + ". To fix it, use the flashmd that wrote it.");
    }
    auto force =
        std::make_unique<FlashMDForce>(node.getStringProperty("modelPath"), node.getStringProperty("sha256", ""));
    force->setForceGroup(node.getIntProperty("forceGroup", 0));
    force->setName(node.getStringProperty("name", force->getName()));
    force->setUsesPeriodicBoundaryConditions(node.getBoolProperty("usesPeriodic", false));
    force->setNumThreads(node.getIntProperty("numThreads", 1));
    std::vector<int> particles;
    for (const OpenMM::SerializationNode& child : node.getChildNode("Particles").getChildren()) {
      particles.push_back(child.getIntProperty("index"));
    }
    force->setParticles(particles);
    return force.release();
  }
};

[[maybe_unused]] const bool registered = [] {
  OpenMM::SerializationProxy::registerProxy(typeid(FlashMDForce), new FlashMDForceProxy());
  return true;
}();

}  // namespace
}  // namespace FlashMD

// What OpenMM calls when it loads a plugin: there is nothing specific to a platform.
extern "C" FLASHMD_OPENMM_EXPORT void registerPlatforms() {}
extern "C" FLASHMD_OPENMM_EXPORT void registerKernelFactories() {}

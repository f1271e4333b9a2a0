// What a FlashMDForce does in one Context, on every platform of OpenMM.
#pragma once

#include <memory>

#include "../engine/evaluator.h"
#include "include/FlashMDForce.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/CustomCPPForceImpl.h"

namespace FlashMD {

// Call function() and pass errors of the engine on as those of OpenMM, after `where`.
template <typename F>
auto withOpenMMErrors(const F& function, const std::string& where = "FlashMDForce") {
  try {
    return function();
  } catch (const flashmd::engine::Error& error) {
    throw OpenMM::OpenMMException(where + ": " + error.what());
  }
}

class FlashMDForceImpl : public OpenMM::CustomCPPForceImpl {
public:
  explicit FlashMDForceImpl(const FlashMDForce& owner) : CustomCPPForceImpl(owner), owner_(owner) {}

  const FlashMDForce& getOwner() const override { return owner_; }
  void initialize(OpenMM::ContextImpl& context) override;
  double computeForce(OpenMM::ContextImpl& context, const std::vector<OpenMM::Vec3>& positions,
                      std::vector<OpenMM::Vec3>& forces) override;

private:
  const FlashMDForce& owner_;
  std::unique_ptr<flashmd::engine::Evaluator> evaluator_;
};

}  // namespace FlashMD

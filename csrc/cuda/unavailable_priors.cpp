// What the launchers of priors.cu are in a build without nvcc.

#include "priors.h"

namespace flashmd::cuda {

#define FLASHMD_UNAVAILABLE(T)                                                                          \
  template <>                                                                                           \
  void prior_terms(const PriorBatch<T>&, const PriorPlan<T>&, const PriorOutput<T>&, double*, Stream) { \
    current_stream(0); /* raises */                                                                     \
  }
FLASHMD_UNAVAILABLE(float)
FLASHMD_UNAVAILABLE(double)

}  // namespace flashmd::cuda

// Threads from torch's own pool through the C shim of the stable ABI.

#include "cpu/parallel.h"

#include <torch/csrc/stable/c/shim.h>
#include <torch/headeronly/util/shim_utils.h>

namespace flashmd::cpu {

void run_parallel(int64_t n_items, int64_t grain, RangeFunction function, void* context) {
  TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, n_items, grain, function, context));
}

}  // namespace flashmd::cpu

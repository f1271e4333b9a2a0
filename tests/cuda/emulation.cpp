// What only the tests need of the emulation: the order in which threads run, and a list of all kernels.
#include <torch/csrc/stable/library.h>

#include "../../csrc/cuda/emulate.h"

namespace {

void set_thread_order(bool descending) {
  flashmd::emulate::descending = descending;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const char* flashmd_kernels() {
  return flashmd::emulate::kernels.c_str();
}

STABLE_TORCH_LIBRARY_FRAGMENT(flashmd_emulated, m) {
  m.def("set_thread_order(bool descending) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(flashmd_emulated, CompositeImplicitAutograd, m) {
  m.impl("set_thread_order", TORCH_BOX(&set_thread_order));
}

// The current stream of torch. The symbol lives in libtorch_cuda, which a CPU-only torch lacks and which extensions are
// not linked to, so it is looked up when the first CUDA tensor arrives.

#include <dlfcn.h>

#include <stdexcept>

#include "launchers.h"

namespace flashmd::cuda {

Stream current_stream(int32_t device) {
  using Getter = int32_t (*)(int32_t, void**);
  static const Getter getter = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
    void* symbol = library ? dlsym(library, "aoti_torch_get_current_cuda_stream") : nullptr;
    return reinterpret_cast<Getter>(symbol);
  }();
  void* stream = nullptr;
  if (!getter || getter(device, &stream) != 0) {
    throw std::runtime_error(
        "CUDA tensors: expected a torch with CUDA, got one without. To fix it, install torch with CUDA or move the "
        "tensors to the CPU.");
  }
  return stream;
}

}  // namespace flashmd::cuda

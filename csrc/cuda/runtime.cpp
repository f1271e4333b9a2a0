#include "runtime.h"

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {
const FlashmdDriver* driver = nullptr;
}

void flashmd_set_driver(const FlashmdDriver* given) {
  driver = given;
}

namespace flashmd::cuda::runtime {
namespace {

constexpr int kMaxDynamicSharedBytes = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr size_t kFreeSharedBytes = 48 * 1024;

const FlashmdDriver& loaded() {
  if (!driver) {
    throw std::runtime_error(
        "the CUDA kernels: expected a library loaded by `import flashmd.ops`, got another way. To fix it, import it.");
  }
  return *driver;
}

void check(int status, const char* what) {
  if (status != 0)
    throw std::runtime_error(std::string("CUDA: ") + what + " failed with error " + std::to_string(status));
}

// Handles belong to a device; a kernel is compiled once for each. The driver is found when the first one is loaded.
void* function_of(const Kernel& kernel) {
  static std::mutex mutex;
  static std::map<std::pair<int, std::string_view>, void*> known;
  int device = -1;
  if (loaded().current_device) check(loaded().current_device(&device), "cuCtxGetDevice");
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find({device, kernel.name});
  if (found != known.end()) return found->second;
  void* function = nullptr;
  char problem[4096] = "";
  if (loaded().load(kernel.family, std::string(kernel.name).c_str(), &function, problem, sizeof problem) != 0) {
    throw std::runtime_error(problem);
  }
  if (device < 0) check(loaded().current_device(&device), "cuCtxGetDevice");
  return known[{device, kernel.name}] = function;
}

}  // namespace

void launch(const Kernel& kernel, unsigned n_blocks, unsigned n_threads, size_t shared_bytes, Stream stream,
            void** parameters) {
  void* function = function_of(kernel);
  if (shared_bytes > kFreeSharedBytes) {
    check(loaded().set_attribute(function, kMaxDynamicSharedBytes, static_cast<int>(shared_bytes)),
          "cuFuncSetAttribute");
  }
  check(loaded().launch(function, n_blocks, 1, 1, n_threads, 1, 1, static_cast<unsigned>(shared_bytes), stream,
                        parameters, nullptr),
        "cuLaunchKernel");
}

void copy_to_host(void* target, const void* source, size_t n_bytes, Stream stream) {
  check(loaded().copy_to_host(target, reinterpret_cast<uint64_t>(source), n_bytes, stream), "cuMemcpyDtoHAsync");
  check(loaded().synchronize(stream), "cuStreamSynchronize");
}

}  // namespace flashmd::cuda::runtime

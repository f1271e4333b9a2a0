// Names of kernels as the compiler writes them.
#pragma once

#include <string_view>

namespace flashmd::cuda {

// The name of a kernel as a C++ expression, such as flashmd::cuda::sum_kernel<float>.
template <auto kKernel>
constexpr std::string_view kernel_name() {
  constexpr std::string_view text = __PRETTY_FUNCTION__, start = "kKernel = ";
  constexpr size_t begin = text.find(start) + start.size();
  return text.substr(begin, text.find_first_of(";]", begin) - begin);
}

}  // namespace flashmd::cuda

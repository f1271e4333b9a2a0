#include "isa.h"

#include <stdexcept>

#include "tiles.h"

namespace flashmd::cpu {

InstructionSet widest_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return has_tiles() ? InstructionSet::amx : InstructionSet::avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}

InstructionSet choose_instruction_set(int wanted) {
  static const InstructionSet widest = widest_instruction_set();
  if (wanted < 0) return widest;
  if (wanted > static_cast<int>(widest)) {
    throw std::runtime_error(
        "`instruction_set`: expected one that this processor has, got a wider one. To fix it, pass -1 for the widest "
        "one.");
  }
  return static_cast<InstructionSet>(wanted);
}

}  // namespace flashmd::cpu

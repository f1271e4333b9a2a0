// Which compiled copy of the vectorised kernels runs on this processor. With AMX, it is that for AVX-512, and node
// layers are products of tiles (tiles.h).
#pragma once

namespace flashmd::cpu {

enum class InstructionSet : int { baseline = 0, avx2 = 1, avx512 = 2, amx = 3 };

// The widest one that this processor and this build have.
InstructionSet widest_instruction_set();

// `wanted`, or the widest one where it is negative; raises where the processor or the build lacks it.
InstructionSet choose_instruction_set(int wanted);

}  // namespace flashmd::cpu

// Call FUNCTION of the namespace of the instruction set LEVEL.
#if defined(__x86_64__)
#define FLASHMD_ISA_NAMESPACES(DECLARE) DECLARE(baseline) DECLARE(avx2) DECLARE(avx512)
#define FLASHMD_DISPATCH(LEVEL, FUNCTION, ...)                                                          \
  ((LEVEL) >= ::flashmd::cpu::InstructionSet::avx512                                                    \
       ? ::flashmd::cpu::avx512::FUNCTION(__VA_ARGS__)                                                  \
       : ((LEVEL) == ::flashmd::cpu::InstructionSet::avx2 ? ::flashmd::cpu::avx2::FUNCTION(__VA_ARGS__) \
                                                          : ::flashmd::cpu::baseline::FUNCTION(__VA_ARGS__)))
#else
#define FLASHMD_ISA_NAMESPACES(DECLARE) DECLARE(baseline)
#define FLASHMD_DISPATCH(LEVEL, FUNCTION, ...) ((void)(LEVEL), ::flashmd::cpu::baseline::FUNCTION(__VA_ARGS__))
#endif

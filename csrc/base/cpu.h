// Which instruction set the hot loops use: detected once, overridable by SMOLFAST_FORCE_IMPL or force_isa().
//
// Hot functions exist once per instruction set, marked with the target attributes below, and are chosen by a table
// lookup per batch of work. No ifunc (musl has none) and no whole-file -mavx2 (inline functions of the standard library
// compiled that way could be picked by the linker for the baseline too).
#pragma once

#include <string>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#define SMOLFAST_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define SMOLFAST_ARM64 1
#endif

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#define SMOLFAST_TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define SMOLFAST_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,bmi,bmi2,lzcnt,popcnt")))
#define SMOLFAST_TARGET_VBMI2 \
  __attribute__((target("avx512vbmi2,avx512f,avx512bw,avx512vl,avx512dq,avx2,bmi,bmi2,lzcnt,popcnt")))
#else
#define SMOLFAST_TARGET_AVX2
#define SMOLFAST_TARGET_AVX512
#define SMOLFAST_TARGET_VBMI2
#endif

namespace smolfast {

enum class Isa { kBaseline = 0, kAvx2 = 1, kAvx512 = 2, kNeon = 3 };

// The implementations this CPU can run, baseline first.
std::vector<Isa> supported_isas();
// The one in use now.
Isa active_isa();
const char* isa_name(Isa isa);
// Whether Isa::kAvx512 can squeeze bytes out of a vector here.
bool has_vbmi2();
// Chooses by name ("baseline", "avx2", "avx512", "neon", or "auto" for the best). Throws Error for a name that is
// unknown or that this CPU can't run.
void force_isa(const std::string& name);
// Chooses one of supported_isas().
void use_isa(Isa isa);

}  // namespace smolfast

#include "base/cpu.h"

#include <atomic>
#include <cstdlib>

#include "base/error.h"

namespace smolfast {
namespace {

constexpr int kUnset = -1;
std::atomic<int> chosen{kUnset};

Isa parse(const std::string& name) {
  std::string can_run;
  for (Isa isa : supported_isas()) {
    if (name == isa_name(isa)) return isa;
    can_run += std::string(can_run.empty() ? "" : ", ") + isa_name(isa);
  }
  if (name == "auto") return supported_isas().back();
  throw Error("implementation '" + name + "' is unknown or not for this CPU; use one of: auto, " + can_run);
}

}  // namespace

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas{Isa::kBaseline};
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) {
    isas.push_back(Isa::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      isas.push_back(Isa::kAvx512);
    }
  }
#elif defined(SMOLFAST_ARM64)
  isas.push_back(Isa::kNeon);
#endif
  return isas;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
    case Isa::kBaseline:
      break;
  }
  return "baseline";
}

Isa active_isa() {
  int now = chosen.load(std::memory_order_relaxed);
  if (now == kUnset) {
    const char* forced = std::getenv("SMOLFAST_FORCE_IMPL");
    now = static_cast<int>(parse(forced != nullptr && *forced != '\0' ? forced : "auto"));
    chosen.store(now, std::memory_order_relaxed);
  }
  return static_cast<Isa>(now);
}

bool has_vbmi2() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  static const bool found = __builtin_cpu_supports("avx512vbmi2");
  return found;
#else
  return false;
#endif
}

void force_isa(const std::string& name) {
  use_isa(parse(name));
}

void use_isa(Isa isa) {
  chosen.store(static_cast<int>(isa), std::memory_order_relaxed);
}

}  // namespace smolfast

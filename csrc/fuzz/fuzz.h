// What the fuzz targets share: the check that stops a run, and running a function under every implementation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/cpu.h"

// Every target defines this; libFuzzer, or driver.cpp where there is none, calls it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size);

namespace smolfast::fuzz {

// Stops the run, and so saves the input, if `holds` is false.
inline void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "finding: %s (implementation %s)\n", what, isa_name(active_isa()));
  std::abort();
}

inline std::string_view as_text(const uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The result of `function`, which must be the same under every implementation.
template <typename Function>
auto under_every_implementation(const Function& function) {
  use_isa(Isa::kBaseline);
  auto expected = function();
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::kBaseline) continue;
    use_isa(isa);
    check(function() == expected, "implementations differ");
  }
  return expected;
}

}  // namespace smolfast::fuzz

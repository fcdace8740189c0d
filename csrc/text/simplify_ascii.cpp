#include "text/simplify_ascii.h"

#include <cstring>

#include "base/cpu.h"

namespace smolfast::text {

void AsciiRules::fill_sets() {
  std::memset(capitals, 0, sizeof(capitals));
  std::memset(blanks, 0, sizeof(blanks));
  std::memset(spaces, 0, sizeof(spaces));
  std::memset(stops, 0, sizeof(stops));
  for (int c = 0; c < 128; ++c) {
    const auto bit = static_cast<uint8_t>(1 << (c >> 4));
    if (c != ' ' && mapped[c] == ' ') {
      blanks[c & 15] |= bit;
    } else if (mapped[c] != c) {
      capitals[c & 15] |= bit;
    }
    if (actions[c] == kSpace) spaces[c & 15] |= bit;
    if (actions[c] > kSpace) stops[c & 15] |= bit;
  }
}

// Without a branch on what the byte becomes.
char* simplify_ascii_baseline(const AsciiRules& rules, const char*& at, const char* end, char* to,
                              unsigned& after_space) {
  const char* p = at;
  unsigned after = after_space;
  while (p < end && static_cast<uint8_t>(*p) < 0x80) {
    const auto byte = static_cast<uint8_t>(*p);
    const AsciiRules::Action action = rules.actions[byte];
    if (action > AsciiRules::kSpace) break;
    const auto space = static_cast<unsigned>(action);
    *to = rules.mapped[byte];
    to += 1 - (space & after);
    after = space;
    ++p;
  }
  at = p;
  after_space = after;
  return to;
}

AsciiSimplifier ascii_simplifier() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  if (active_isa() == Isa::kAvx512 && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi")) {
    return simplify_ascii_vbmi2;
  }
  if (active_isa() == Isa::kAvx2 || active_isa() == Isa::kAvx512) return simplify_ascii_avx2;
#endif
  return simplify_ascii_baseline;
}

}  // namespace smolfast::text

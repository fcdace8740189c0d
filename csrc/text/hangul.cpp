#include "text/hangul.h"

#include <cstring>

#include "base/cpu.h"
#include "text/bytes.h"

namespace smolfast::text {

bool compose_hangul_baseline(const char* block, const char* end, uint64_t& stops, const char*& segment,
                             const char*& copied, char*& out) {
  uint64_t mask = stops;
  const char* from = segment;
  const char* done = copied;
  char* to = out;
  while (mask != 0) {
    const int place = __builtin_ctzll(mask);
    const char* const vowel_at = block + place;
    const char* const base = vowel_at - 3;
    if (base < from) break;
    const uint64_t pair = load_eight(base);
    const uint64_t lead = (pair >> 16 & 0xFF) - 0x80;
    const uint64_t vowel = (pair >> 40 & 0xFF) - 0xA1;
    // Without a branch on whether there is a final consonant: half of the syllables have one.
    const uint64_t after = load_eight(vowel_at + 3);
    const uint64_t tail = (after >> 2 & 64) + (after >> 16 & 63) + 0x1180 - kTailBase;
    const uint64_t has_tail = static_cast<uint64_t>((after & 0xFEFF) == 0x86E1) & (tail - 1 < kTails - 1 ? 1 : 0);
    const uint64_t following = after >> has_tail * 24;
    const uint64_t near = mask & uint64_t{8} << place;
    if (((pair & 0xFFFF00FFFF) != 0x85E10084E1) | (lead >= kLeads) | (vowel >= kVowels) |
        (((following & 0x80) != 0) & ((following & 0xFFFF) != 0x84E1)) | ((near >> place) > has_tail << 3)) {
      break;
    }
    // The final consonant's stop goes too; where that is doesn't wait for the text.
    mask ^= near | uint64_t{1} << place;
    if (base - done <= 16) {
      std::memcpy(to, done, 16);
      to += base - done;
    } else {
      to = copy_stretch(done, base, end, to);
    }
    const auto code = static_cast<uint32_t>(kSyllableBase + (lead * kVowels + vowel) * kTails + (tail & -has_tail));
    store_four(0x8080E0 | code >> 12 | (code << 2 & 0x3F00) | (code & 63) << 16, to);
    to += 3;
    done = from = vowel_at + 3 + 3 * has_tail;
  }
  if (done == copied) return false;
  stops = mask;
  segment = copied = done;
  out = to;
  return true;
}

HangulComposer hangul_composer() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  if (active_isa() == Isa::kAvx512 && has_vbmi2()) return compose_hangul_vbmi2;
#endif
  return compose_hangul_baseline;
}

}  // namespace smolfast::text

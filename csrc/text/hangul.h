// Composing conjoining jamo to Hangul syllables (Unicode §3.12), many at a time.
#pragma once

#include <cstdint>

namespace smolfast::text {

constexpr uint32_t kSyllableBase = 0xAC00, kLeadBase = 0x1100, kVowelBase = 0x1161, kTailBase = 0x11A7;
constexpr uint32_t kLeads = 19, kVowels = 21, kTails = 28, kSyllables = kLeads * kVowels * kTails;

// Composes syllables from the stops of `mask` on, bit n being for block + n, as long as their vowels come next and each
// is followed by another syllable, by ASCII or by something else that is no stop, and takes their stops away (all of
// them if it doesn't know which). What lies from `copied` on, which isn't after `segment`, is written too; both move to
// where the last syllable ended. False if there was none. The text goes on for 16 bytes or more after the block's 64,
// and `out` has room for what is left of it.
bool compose_hangul_baseline(const char* block, const char* end, uint64_t& mask, const char*& segment,
                             const char*& copied, char*& out);
// For CPUs that can squeeze bytes out of a vector (has_vbmi2()).
bool compose_hangul_vbmi2(const char* block, const char* end, uint64_t& mask, const char*& segment, const char*& copied,
                          char*& out);

using HangulComposer = decltype(&compose_hangul_baseline);
// That of active_isa().
HangulComposer hangul_composer();

}  // namespace smolfast::text

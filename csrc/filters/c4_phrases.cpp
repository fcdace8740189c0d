#include "filters/c4_phrases.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/cpu.h"
#include "text/byte_classes.h"

namespace smolfast::filters {
namespace {

struct Phrase {
  std::string_view text;
  unsigned found;
  std::size_t automaton;
};
constexpr Phrase kPhrases[] = {
    {"lorem ipsum", kLoremIpsum, 0}, {"javascript", kJavascript, 0}, {"terms of use", kPolicy, 0},
    {"privacy policy", kPolicy, 0},  {"cookie policy", kPolicy, 0},  {"uses cookies", kPolicy, 1},
    {"use of cookies", kPolicy, 1},  {"use cookies", kPolicy, 1},
};

// Shift-and (Baeza-Yates and Gonnet 1992): a bit for each letter of each phrase, two words of them.
struct Automaton {
  uint64_t letters[256] = {};
  uint64_t starts = 0;
  uint64_t ends = 0;
};
struct Automata {
  Automaton each[2];
  uint64_t ends_of[3] = {};  // in the first, by kind
};

constexpr Automata kAutomata = [] {
  Automata automata{};
  unsigned used[2] = {0, 0};
  for (const Phrase& phrase : kPhrases) {
    Automaton& automaton = automata.each[phrase.automaton];
    unsigned& bit = used[phrase.automaton];
    automaton.starts |= uint64_t{1} << bit;
    for (const char c : phrase.text) {
      const auto byte = static_cast<unsigned char>(c);
      automaton.letters[byte] |= uint64_t{1} << bit;
      if (c >= 'a' && c <= 'z') automaton.letters[byte - 32] |= uint64_t{1} << bit;
      ++bit;
    }
    automaton.ends |= uint64_t{1} << (bit - 1);
    if (phrase.automaton == 0) {
      const std::size_t kind = phrase.found == kLoremIpsum ? 0 : phrase.found == kJavascript ? 1 : 2;
      automata.ends_of[kind] |= uint64_t{1} << (bit - 1);
    }
  }
  return automata;
}();

// Every phrase holds one of these in some case, or a Kelvin sign (E2 84 AA) for a "k".
constexpr char kHeld[][4] = {"ips", "jav", "rms", "icy", "kie"};

// Which phrases the text holds, byte by byte.
unsigned walk(std::string_view text) {
  const Automaton& a = kAutomata.each[0];
  const Automaton& b = kAutomata.each[1];
  uint64_t in_a = 0;
  uint64_t in_b = 0;
  uint64_t met_a = 0;
  uint64_t met_b = 0;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end; ++at) {
    auto byte = static_cast<unsigned char>(*at);
    // The Kelvin sign, the only character outside ASCII whose lower case is a letter of ASCII alone.
    if (byte == 0xE2 && end - at > 2 && at[1] == '\x84' && at[2] == '\xAA') {
      byte = 'k';
      at += 2;
    }
    in_a = (in_a << 1 | a.starts) & a.letters[byte];
    in_b = (in_b << 1 | b.starts) & b.letters[byte];
    met_a |= in_a;
    met_b |= in_b;
  }
  unsigned found = 0;
  for (std::size_t kind = 0; kind < 3; ++kind) {
    if ((met_a & kAutomata.ends_of[kind]) != 0) found |= 1u << kind;
  }
  if ((met_b & b.ends) != 0) found |= kPolicy;
  return found;
}

constexpr std::size_t kAround = 32;  // more than a phrase has, each "k" being a Kelvin sign

// Whether one of kHeld begins in the bytes of a vector from `at` on, of which two more may be read. Capitals become
// small; what becomes something else can't hide a phrase.
#if defined(SMOLFAST_X86)

namespace sse2 {

constexpr std::size_t kWide = 16;

inline bool may_hold_phrase(const char* at) {
  __m128i bytes[3];
  for (int i = 0; i < 3; ++i) {
    bytes[i] = text::bytes_with(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i)), 0x20);
  }
  __m128i found = _mm_and_si128(text::bytes_equal(bytes[0], '\xE2'), text::bytes_equal(bytes[1], '\xA4'));
  for (const auto& held : kHeld) {
    __m128i here = text::bytes_equal(bytes[0], held[0]);
    for (int i = 1; i < 3; ++i) here = _mm_and_si128(here, text::bytes_equal(bytes[i], held[i]));
    found = _mm_or_si128(found, here);
  }
  return _mm_movemask_epi8(found) != 0;
}

#define SMOLFAST_TARGET
#include "filters/c4_phrases.inl"
#undef SMOLFAST_TARGET

}  // namespace sse2

namespace avx2 {

constexpr std::size_t kWide = 32;

SMOLFAST_TARGET_AVX2 inline bool may_hold_phrase(const char* at) {
  __m256i bytes[3];
  for (int i = 0; i < 3; ++i) {
    bytes[i] = text::bytes_with(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + i)), 0x20);
  }
  __m256i found = _mm256_and_si256(text::bytes_equal(bytes[0], '\xE2'), text::bytes_equal(bytes[1], '\xA4'));
  for (const auto& held : kHeld) {
    __m256i here = text::bytes_equal(bytes[0], held[0]);
    for (int i = 1; i < 3; ++i) here = _mm256_and_si256(here, text::bytes_equal(bytes[i], held[i]));
    found = _mm256_or_si256(found, here);
  }
  return _mm256_movemask_epi8(found) != 0;
}

#define SMOLFAST_TARGET SMOLFAST_TARGET_AVX2
#include "filters/c4_phrases.inl"
#undef SMOLFAST_TARGET

}  // namespace avx2

#endif

}  // namespace

// Looks only around what every phrase holds.
unsigned find_phrases(std::string_view text) {
#if defined(SMOLFAST_X86)
  const Isa isa = active_isa();
  return isa == Isa::kAvx512 || isa == Isa::kAvx2 ? avx2::look(text) : sse2::look(text);
#else
  return walk(text);
#endif
}

}  // namespace smolfast::filters

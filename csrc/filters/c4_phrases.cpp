#include "filters/c4_phrases.h"

#include <array>
#include <cstddef>

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

}  // namespace

unsigned find_phrases(std::string_view text) {
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

}  // namespace smolfast::filters

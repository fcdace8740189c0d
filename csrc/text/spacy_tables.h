// spaCy's rules as spacy_tables.cpp holds them; generate_spacy_tables.py writes it.
#pragma once

#include <cstdint>
#include <string_view>

namespace smolfast::text {

// From `first` on, up to the next stretch, characters are of one class.
struct SpacyStretch {
  uint32_t first;
  uint16_t number;
};

inline constexpr uint16_t kSpacyMaxContext = 3;

// A deterministic automaton. Its columns are classes of characters, then what stands before a string and what stands
// after it. State 0 is dead and 1 the first.
struct SpacyAutomaton {
  uint16_t states;
  uint16_t columns;
  uint16_t before;                     // the column of a string's begin
  uint16_t after;                      // and of its end
  uint16_t context;                    // how many symbols before a match it begins to read at, up to kSpacyMaxContext
  const int8_t* accept;                // by state: how many symbols after a match it has read, or -1 where none ends
  const uint16_t* next;                // state by state, as pairs of value and count up to 0, 0
  const uint16_t* columns_of_classes;  // likewise
};

// Numbers of automata, or -1; exceptions are rules that end in U+001E, their tokens apart by U+001F.
struct SpacyLanguage {
  std::string_view name;
  int16_t prefix;
  int16_t suffix;
  int16_t infix;
  int16_t infix_again;  // without empty matches, where the last one was empty
  int16_t whole;        // strings that are one token
  bool shares;          // has kSpacyShared too
  const std::string_view* exceptions;
  uint32_t exception_count;
};

// Of a class, in kSpacyFlags.
inline constexpr uint8_t kSpacyWord = 1;   // \w
inline constexpr uint8_t kSpacyDigit = 2;  // \d
inline constexpr uint8_t kSpacyLower = 4;  // a lower-case or uncased letter, as spaCy lists them
inline constexpr uint8_t kSpacyHost = 8;   // may begin or end a label of a host's name
inline constexpr uint8_t kSpacyPunctuation = 16;
inline constexpr uint8_t kSpacyFinal = 32;  // ends sentences

extern const char kSpacyVersion[];
extern const uint32_t kSpacyClasses;
extern const uint8_t kSpacyFlags[];
extern const SpacyStretch kSpacyStretches[];
extern const uint32_t kSpacyStretchCount;
extern const SpacyAutomaton kSpacyAutomata[];
extern const std::string_view* const kSpacyShared;
extern const uint32_t kSpacySharedCount;
extern const SpacyLanguage kSpacyLanguages[];
extern const uint32_t kSpacyLanguageCount;

}  // namespace smolfast::text

// Simplifying stretches of plain ASCII, many bytes at a time.
#pragma once

#include <cstdint>

namespace smolfast::text {

// What becomes of each ASCII byte.
struct AsciiRules {
  // kSpace: written as a space, if none was written just before. From kDigit on, it depends on what follows.
  enum Action : uint8_t { kCopy, kSpace, kDigit, kName };

  char mapped[128];
  Action actions[128];
  // The same as sets, for CPUs without tables of 128 bytes: bit b >> 4 of place b & 15.
  uint8_t capitals[16];  // mapped to their small letters
  uint8_t blanks[16];    // mapped to a space
  uint8_t spaces[16];    // kSpace
  uint8_t stops[16];     // kDigit and kName

  // Fills the sets from `mapped` and `actions`.
  void fill_sets();
};

// Writes what becomes of the bytes from `at` up to `end`, to the first that isn't ASCII or to one of kDigit or kName,
// and moves `at` there. `after_space`, 0 or 1: whether the last character was a space. Returns the end of what was
// written; up to 64 bytes after it are overwritten.
using AsciiSimplifier = char* (*)(const AsciiRules& rules, const char*& at, const char* end, char* to,
                                  unsigned& after_space);

char* simplify_ascii_baseline(const AsciiRules& rules, const char*& at, const char* end, char* to,
                              unsigned& after_space);
char* simplify_ascii_avx2(const AsciiRules& rules, const char*& at, const char* end, char* to, unsigned& after_space);
// For CPUs that look up 128 bytes at once and squeeze bytes out of a vector.
char* simplify_ascii_vbmi2(const AsciiRules& rules, const char*& at, const char* end, char* to, unsigned& after_space);

// That of active_isa().
AsciiSimplifier ascii_simplifier();

}  // namespace smolfast::text

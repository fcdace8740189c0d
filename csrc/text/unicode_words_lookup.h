// The characters of a 64-byte block that no range of bytes tells apart: kana, Arabic, Greek, Hangul, marks, curly
// quotes and all others. Their classes are looked up, and become masks beside those of the plain ones.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smolfast::text {

// A bit a byte. Given are the plain characters' masks and where the others lie; what is looked up comes on top.
struct LookedUp {
  uint64_t unknown;        // bytes of characters to look up
  uint64_t continuations;  // bytes that begin no character
  uint64_t letters;
  uint64_t digits;
  uint64_t underscores;   // ExtendNumLet
  uint64_t singles;       // first bytes of characters that are words of their own
  uint64_t single_bytes;  // all of theirs, with their marks'
  uint64_t middles;       // MidLetter, MidNum, MidNumLet and Single_Quote that are ASCII: what follows may keep them
  uint64_t attached = 0;  // marks and others that belong to what stands before them
  uint64_t joined = 0;    // the longer ones among them that stand between two letters or two digits
};

// The first byte from which on nothing is certain, or 64: a character that the block's end cuts, a zero-width joiner,
// quotes after Hebrew letters. The block has `size` bytes, or 64 where there are more. A segment starts at the block's
// begin.
int look_up_classes(const char* block, std::size_t size, LookedUp& masks);

}  // namespace smolfast::text

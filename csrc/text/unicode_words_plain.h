// Word segmentation 64 bytes at a time by bit masks. Vectors make the masks of plain characters: ASCII, the letters
// from U+00C0 to U+017F (most European languages), those from U+0400 to U+047F (most Cyrillic ones) and Han from U+4000
// to U+9FFF. The others' are looked up (text/unicode_words_lookup.h), two to five times as fast as segment by segment.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/unicode_words.h"

namespace smolfast::text {

// Finds words of `text` from `at`, a segment's start, for as long as masks can say where they end, and moves `at` to a
// later segment's start; returns how many words it wrote. It may stop anywhere, and doesn't move when it can't go on.
// Words are written while there is room for another kPlainBlockWords (a block has up to 32, and a few are written too
// many and overwritten).
inline constexpr std::size_t kPlainBlockWords = 36;
std::size_t scan_plain_words(std::string_view text, std::size_t& at, Word* words, std::size_t capacity);

}  // namespace smolfast::text

// Word segmentation of ASCII stretches, 64 bytes at a time by bit masks.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/words.h"

namespace smolfast::text {

// Finds words of `text` from `at`, a segment's start, for as long as whole stretches are ASCII, and moves `at` to a
// later segment's start; returns how many words it wrote. It may stop anywhere, and doesn't move when it can't go on.
// Words are written while there is room for another kAsciiBlockWords (a block has up to 32, and a few are written too
// many and overwritten).
inline constexpr std::size_t kAsciiBlockWords = 36;
std::size_t scan_ascii_words(std::string_view text, std::size_t& at, Word* words, std::size_t capacity);

}  // namespace smolfast::text

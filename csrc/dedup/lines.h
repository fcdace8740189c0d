// Lines that occur more than once across a corpus: their hashes, and texts without them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace smolfast::dedup {

// Appends the hash of each line of at least `least` bytes. A line ends before "\n" or at the text's end, and counts
// without the spaces, tabs and carriage returns around it.
void hash_lines(std::string_view text, std::size_t least, std::vector<uint64_t>& hashes);

// Appends the text without those of the same lines whose flag isn't 0, their "\n" included. Returns how many lines of
// at least `least` bytes it has; `drop` must hold as many flags.
std::size_t drop_lines(std::string_view text, std::size_t least, const uint8_t* drop, std::vector<char>& out);

// How many such lines there are.
std::size_t count_lines(std::string_view text, std::size_t least);

}  // namespace smolfast::dedup

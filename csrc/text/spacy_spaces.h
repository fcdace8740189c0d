// White space and plain letters of 64 bytes at a time, for cutting text into spaCy's chunks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smolfast::text {

// A bit a byte. The block must begin with a character; one that its end cuts is odd.
struct ChunkClasses {
  uint64_t spaces;  // bytes of white space, as Python's str.isspace; also all bytes past the text's end
  uint64_t odd;     // all but ASCII letters and those of U+00C0–017F and U+0400–047F
  uint64_t above;   // not ASCII
};
using ClassifyChunks = ChunkClasses (*)(const char* at, std::size_t left);

ClassifyChunks choose_chunk_classes();

}  // namespace smolfast::text

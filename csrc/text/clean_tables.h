// What the scan for unclean text looks for.
#pragma once

#include <cstdint>

namespace smolfast::text {

struct CleanOptions;

// Nibble tables, as ScanTables: a byte and the next are in question if the four lookups of `pair` share a bit, a byte
// and the next two if the six of `triple` do. Every character of those that a rule replaces or removes is hit, and no
// other.
struct CleanTables {
  explicit CleanTables(const CleanOptions& options);

  uint8_t pair[4][16] = {};
  uint8_t triple[6][16] = {};
  // A line feed is in question after a space or a tab, and after so many line feeds (0: never).
  bool trailing_whitespace;
  int line_feeds;
};

}  // namespace smolfast::text

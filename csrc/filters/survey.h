// What one pass over a text tells the filters: where its line feeds are, and how many of what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace smolfast::filters {

struct LineFeed {
  uint32_t at;
  uint32_t characters;  // before it
};

struct Survey {
  std::span<const LineFeed> line_feeds() const { return {feeds.data(), feed_count}; }

  std::vector<LineFeed> feeds;  // and what was written beyond
  std::size_t feed_count = 0;
  std::size_t characters = 0;
  std::size_t hashes = 0;  // "#"
  // Bytes of ASCII that are neither white space nor controls, and follow a space or a line feed or begin the text.
  std::size_t word_begins = 0;
  // Whether there may be any of these.
  bool other_breaks = false;  // of str.splitlines, that aren't line feeds
  bool feed_runs = false;     // of two line feeds or more
  bool ellipses = false;      // "..." or "…"
  bool brackets = false;      // "[" or "{"
};

// Of valid UTF-8 of less than 4 GiB; the vector's memory is used again.
void survey_text(std::string_view text, Survey& survey);

}  // namespace smolfast::filters

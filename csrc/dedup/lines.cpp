#include "dedup/lines.h"

#include <cstring>

#include "dedup/hash.h"

namespace smolfast::dedup {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// body(whole line with its "\n", what counts of it) for each line.
template <typename Body>
void each_line(std::string_view text, Body&& body) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view whole = text.substr(0, end == std::string_view::npos ? text.size() : end + 1);
    text.remove_prefix(whole.size());
    std::string_view line = whole;
    if (line.back() == '\n') line.remove_suffix(1);
    while (!line.empty() && is_blank(line.back())) line.remove_suffix(1);
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    body(whole, line);
  }
}

}  // namespace

void hash_lines(std::string_view text, std::size_t least, std::vector<uint64_t>& hashes) {
  each_line(text, [&](std::string_view, std::string_view line) {
    if (line.size() >= least) hashes.push_back(hash_text(line).first);
  });
}

std::size_t drop_lines(std::string_view text, std::size_t least, const uint8_t* drop, std::vector<char>& out) {
  std::size_t lines = 0;
  each_line(text, [&](std::string_view whole, std::string_view line) {
    if (line.size() >= least && drop[lines++] != 0) return;
    out.insert(out.end(), whole.begin(), whole.end());
  });
  return lines;
}

std::size_t count_lines(std::string_view text, std::size_t least) {
  std::size_t lines = 0;
  each_line(text, [&](std::string_view, std::string_view line) { lines += line.size() >= least; });
  return lines;
}

}  // namespace smolfast::dedup

#include "filters/stretches.h"

#include <cstring>

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

Stretch measure(const char* begin, const char* end, bool ascii) {
  const std::string_view bytes(begin, static_cast<std::size_t>(end - begin));
  const bool solid = begin != end && static_cast<uint8_t>(*begin - '!') <= '~' - '!';
  return {bytes, ascii ? bytes.size() : count_characters(bytes), !solid && strip_left(bytes).empty(), false};
}

}  // namespace

void split_at_line_feeds(std::string_view text, bool ascii, std::size_t least, std::vector<Stretch>& stretches) {
  stretches.clear();
  const char* begin = text.data();
  const char* const end = begin + text.size();
  for (const char* at = begin; at < end;) {
    const auto* const feed = static_cast<const char*>(std::memchr(at, '\n', static_cast<std::size_t>(end - at)));
    if (feed == nullptr) break;
    at = feed + 1;
    while (at < end && *at == '\n') ++at;
    if (static_cast<std::size_t>(at - feed) < least) continue;
    stretches.push_back(measure(begin, feed, ascii));
    begin = at;
  }
  stretches.push_back(measure(begin, end, ascii));
}

void find_repeated(std::vector<Stretch>& stretches, RangeSet& seen) {
  const HashSeed seed = draw_hash_seed();
  seen.reset(stretches.size());
  for (Stretch& stretch : stretches) {
    stretch.repeated = seen.find(stretch.bytes, hash_bytes(stretch.bytes, seed)).count++ != 0;
  }
}

}  // namespace smolfast::filters

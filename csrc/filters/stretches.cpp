#include "filters/stretches.h"

#include "base/seeded_hash.h"
#include "filters/characters.h"

namespace smolfast::filters {
namespace {

constexpr std::size_t kFirstSlots = 4096;
constexpr uint64_t kPlace = 0xFFFFFFFF;
constexpr std::size_t kMostUnequal = 64;  // stretches of one hash and size

uint64_t hash_stretch(std::string_view bytes, bool by_ends, HashSeed seed) {
  if (!by_ends || bytes.size() <= 16) return hash_bytes(bytes, seed);
  const char* const at = bytes.data();
  const char* const end = at + bytes.size();
  const uint64_t first = hash_short(load64(at), load64(at + 8), bytes.size(), seed);
  return fold(load64(end - 16) ^ first, load64(end - 8) ^ seed.b);
}

Stretch measure(const char* begin, const char* end, std::size_t characters) {
  const std::string_view bytes(begin, static_cast<std::size_t>(end - begin));
  return {bytes, characters, strip_left(bytes).empty(), false};
}

}  // namespace

void Stretches::split(std::string_view text, std::string_view whole, const Survey& survey, std::size_t least) {
  stretches_.clear();
  const char* const origin = whole.data();
  const char* const end = text.data() + text.size();
  const auto from = static_cast<std::size_t>(text.data() - origin);
  const std::size_t stop = from + text.size();
  auto feed = survey.line_feeds().begin();
  auto last = survey.line_feeds().end();
  while (feed != last && feed->at < from) ++feed;
  while (feed != last && (last - 1)->at >= stop) --last;
  const char* begin = text.data();
  std::size_t begin_characters = count_characters(whole.substr(0, from));
  while (feed != last) {
    const LineFeed first = *feed;
    uint32_t behind = first.at + 1;
    for (++feed; feed != last && feed->at == behind; ++feed) ++behind;
    if (behind - first.at < least) continue;
    stretches_.push_back(measure(begin, origin + first.at, first.characters - begin_characters));
    begin = origin + behind;
    begin_characters = first.characters + (behind - first.at);
  }
  const std::size_t end_characters = survey.characters - count_characters(whole.substr(stop));
  stretches_.push_back(measure(begin, end, end_characters - begin_characters));
  if (!find_repeated(true)) find_repeated(false);
}

// Mostly a hash of a stretch's ends is enough, which reads as much of each; false if it isn't.
bool Stretches::find_repeated(bool by_ends) {
  const HashSeed seed = draw_hash_seed();
  repeated_ = repeated_characters_ = 0;
  std::size_t slots = 16;
  while (slots < 2 * stretches_.size() && slots < kFirstSlots) slots *= 2;
  slots_.assign(slots, 0);
  std::size_t distinct = 0;
  std::size_t unequal = 0;
  for (std::size_t i = 0; i < stretches_.size(); ++i) {
    Stretch& stretch = stretches_[i];
    const uint64_t hash = hash_stretch(stretch.bytes, by_ends, seed);
    stretch.repeated = false;
    for (std::size_t slot = hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
      const uint64_t held = slots_[slot];
      if (held == 0) {
        slots_[slot] = (hash & ~kPlace) | (i + 1);
        if (2 * ++distinct > slots_.size()) grow_slots(by_ends);
        break;
      }
      if ((held & ~kPlace) != (hash & ~kPlace)) continue;
      if (stretches_[(held & kPlace) - 1].bytes == stretch.bytes) {
        stretch.repeated = true;
        ++repeated_;
        repeated_characters_ += stretch.characters;
        break;
      }
      if (by_ends && ++unequal == kMostUnequal) return false;
    }
  }
  return true;
}

void Stretches::grow_slots(bool by_ends) {
  std::vector<uint64_t> old(2 * slots_.size());
  std::swap(old, slots_);
  const HashSeed seed = draw_hash_seed();
  for (const uint64_t held : old) {
    if (held == 0) continue;
    std::size_t slot = hash_stretch(stretches_[(held & kPlace) - 1].bytes, by_ends, seed) & (slots_.size() - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = held;
  }
}

}  // namespace smolfast::filters

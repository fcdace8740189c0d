#include "filters/word_measures.h"

#include <array>

#include "filters/characters.h"

namespace smolfast::filters {
namespace {

constexpr uint8_t kIsLetter = 1;
constexpr uint8_t kIsSolid = 2;  // no symbol

uint8_t character_flags(uint32_t code) {
  return static_cast<uint8_t>(((text::kind(code) & text::kLetter) != 0 ? kIsLetter : 0) |
                              (symbols().contains(code) ? 0 : kIsSolid));
}

const std::array<uint8_t, 128>& ascii_flags() {
  static const std::array<uint8_t, 128> flags = [] {
    std::array<uint8_t, 128> made{};
    for (uint32_t code = 0; code < made.size(); ++code) made[code] = character_flags(code);
    return made;
  }();
  return flags;
}

}  // namespace

text::WordMeasure measure_word(std::string_view word) {
  const std::array<uint8_t, 128>& ascii = ascii_flags();
  uint8_t flags = 0;
  uint32_t characters = 0;
  const char* const end = word.data() + word.size();
  for (const char* at = word.data(); at < end; ++characters) {
    const auto byte = static_cast<uint8_t>(*at);
    if (byte < 0x80) {
      flags |= ascii[byte];
      ++at;
    } else {
      const text::Decoded c = text::decode(at);
      flags |= character_flags(c.code);
      at += c.size;
    }
    // With both, only characters are left to be counted.
    if (flags == (kIsLetter | kIsSolid)) {
      characters += 1 + static_cast<uint32_t>(count_characters({at, static_cast<std::size_t>(end - at)}));
      break;
    }
  }
  return {characters, (flags & kIsSolid) != 0, (flags & kIsLetter) != 0};
}

}  // namespace smolfast::filters

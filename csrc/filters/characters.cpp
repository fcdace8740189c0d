#include "filters/characters.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "text/byte_classes.h"
#include "text/bytes.h"

namespace smolfast::filters {
namespace {

// The sets as datatrove 0.10.1 has them (utils/text.py): 159 and 281 characters.
const std::vector<CharacterSet::Range>& terminal_ranges() {
  static const std::vector<CharacterSet::Range> ranges{
      {0x21, 0x21},       {0x2E, 0x2E},       {0x3F, 0x3F},       {0x589, 0x589},     {0x61D, 0x61F},
      {0x6D4, 0x6D4},     {0x700, 0x702},     {0x7F9, 0x7F9},     {0x837, 0x837},     {0x839, 0x839},
      {0x83D, 0x83E},     {0x964, 0x965},     {0x104A, 0x104B},   {0x1362, 0x1362},   {0x1367, 0x1368},
      {0x166E, 0x166E},   {0x1735, 0x1736},   {0x17D4, 0x17D6},   {0x17D9, 0x17DA},   {0x1803, 0x1803},
      {0x1809, 0x1809},   {0x1944, 0x1945},   {0x1AA8, 0x1AAB},   {0x1B5A, 0x1B5B},   {0x1B5E, 0x1B5F},
      {0x1B7D, 0x1B7E},   {0x1C3B, 0x1C3C},   {0x1C7E, 0x1C7F},   {0x203C, 0x203D},   {0x2047, 0x2049},
      {0x2E2E, 0x2E2E},   {0x2E3C, 0x2E3C},   {0x2E53, 0x2E54},   {0x3002, 0x3002},   {0xA4FF, 0xA4FF},
      {0xA60E, 0xA60F},   {0xA6F3, 0xA6F3},   {0xA6F7, 0xA6F7},   {0xA876, 0xA877},   {0xA8CE, 0xA8CF},
      {0xA92F, 0xA92F},   {0xA9C8, 0xA9C9},   {0xAA5D, 0xAA5F},   {0xAAF0, 0xAAF1},   {0xABEB, 0xABEB},
      {0xFE52, 0xFE52},   {0xFE56, 0xFE57},   {0xFF01, 0xFF01},   {0xFF0E, 0xFF0E},   {0xFF1F, 0xFF1F},
      {0xFF61, 0xFF61},   {0x10A56, 0x10A57}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x11047, 0x11048},
      {0x110BE, 0x110C1}, {0x11141, 0x11143}, {0x111C5, 0x111C6}, {0x111CD, 0x111CD}, {0x111DE, 0x111DF},
      {0x11238, 0x11239}, {0x1123B, 0x1123C}, {0x112A9, 0x112A9}, {0x1144B, 0x1144C}, {0x115C2, 0x115C3},
      {0x115C9, 0x115D7}, {0x11641, 0x11642}, {0x1173C, 0x1173E}, {0x11944, 0x11944}, {0x11946, 0x11946},
      {0x11A42, 0x11A43}, {0x11A9B, 0x11A9C}, {0x11C41, 0x11C42}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F44},
      {0x16A6E, 0x16A6F}, {0x16AF5, 0x16AF5}, {0x16B37, 0x16B38}, {0x16B44, 0x16B44}, {0x16E98, 0x16E98},
      {0x1BC9F, 0x1BC9F}, {0x1DA88, 0x1DA88},
  };
  return ranges;
}

const std::vector<CharacterSet::Range>& punctuation_ranges() {
  static const std::vector<CharacterSet::Range> ranges{
      {0x0, 0x8},       {0xB, 0x1F},      {0x21, 0x2F},     {0x3A, 0x40},     {0x5B, 0x60},     {0x7B, 0x9F},
      {0xAB, 0xAB},     {0xB4, 0xB4},     {0xBB, 0xBB},     {0x2013, 0x2014}, {0x2019, 0x2019}, {0x201C, 0x201E},
      {0x2026, 0x2026}, {0x2236, 0x2236}, {0x2501, 0x2501}, {0x25BA, 0x25BA}, {0x3001, 0x3002}, {0x3008, 0x300D},
      {0x3010, 0x3011}, {0xFF01, 0xFF01}, {0xFF05, 0xFF05}, {0xFF08, 0xFF09}, {0xFF0C, 0xFF0C}, {0xFF0E, 0xFF0E},
      {0xFF11, 0xFF11}, {0xFF1A, 0xFF1B}, {0xFF1F, 0xFF1F}, {0xFF5E, 0xFF5E},
  };
  return ranges;
}

#if defined(SMOLFAST_X86)
inline std::size_t sum_bytes(__m128i bytes) {
  const __m128i halves = _mm_sad_epu8(bytes, _mm_setzero_si128());
  return static_cast<std::size_t>(_mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4));
}
#endif

// Bytes that may end a line for str.splitlines: the ASCII ones, and the first of U+0085, U+2028 and U+2029.
constexpr auto kMayBreak = [] {
  std::array<bool, 256> may{};
  for (const int byte : {0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0xC2, 0xE2})
    may[static_cast<std::size_t>(byte)] = true;
  return may;
}();

// The next byte from `at` on that may end a line, or `end`.
const char* find_break(const char* at, const char* end) {
#if defined(SMOLFAST_X86)
  for (; end - at >= 16; at += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i leads = text::bytes_either(text::bytes_equal(x, '\xC2'), text::bytes_equal(x, '\xE2'));
    const __m128i controls = text::bytes_either(text::bytes_between(x, 0x0A, 3), text::bytes_between(x, 0x1C, 2));
    const int mask = _mm_movemask_epi8(_mm_or_si128(leads, controls));
    if (mask != 0) return at + std::countr_zero(static_cast<unsigned>(mask));
  }
#endif
  while (at < end && !kMayBreak[static_cast<uint8_t>(*at)]) ++at;
  return at;
}

// The bytes of the line break at `at`, or 0.
std::size_t break_size(const char* at, const char* end) {
  switch (static_cast<uint8_t>(*at)) {
    case 0x0D:
      return end - at > 1 && at[1] == '\n' ? 2 : 1;
    case 0xC2:
      return at[1] == '\x85' ? 2 : 0;
    case 0xE2:
      return at[1] == '\x80' && (at[2] == '\xA8' || at[2] == '\xA9') ? 3 : 0;
    default:
      return 1;
  }
}

}  // namespace

CharacterSet::CharacterSet(const std::vector<Range>& ranges) {
  for (const Range& range : ranges) add(range.first, range.last);
}

CharacterSet::CharacterSet(std::string_view characters) {
  for (const char* at = characters.data(); at < characters.data() + characters.size();) {
    const text::Decoded c = text::decode(at);
    add(c.code, c.code);
    at += c.size;
  }
}

void CharacterSet::add(uint32_t first, uint32_t last) {
  if (bits_.size() <= last >> 6) bits_.resize((last >> 6) + 1);
  for (uint32_t code = first; code <= last; ++code) bits_[code >> 6] |= uint64_t{1} << (code & 63);
}

bool CharacterSet::holds_all(std::string_view text) const {
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const text::Decoded c = text::decode(at);
    if (!contains(c.code)) return false;
    at += c.size;
  }
  return true;
}

const CharacterSet& terminal_punctuation() {
  static const CharacterSet set(terminal_ranges());
  return set;
}

const CharacterSet& symbols() {
  static const CharacterSet set = [] {
    std::vector<CharacterSet::Range> all = terminal_ranges();
    all.insert(all.end(), punctuation_ranges().begin(), punctuation_ranges().end());
    return CharacterSet(all);
  }();
  return set;
}

std::string_view strip_spaces_left(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    const text::Decoded c = text::decode(at);
    if (!is_space(c.code)) break;
    at += c.size;
  }
  return {at, static_cast<std::size_t>(end - at)};
}

std::string_view strip_spaces_right(std::string_view text) {
  const char* const begin = text.data();
  const char* end = begin + text.size();
  while (end > begin) {
    const char* const last = text::previous(end);
    if (!is_space(text::decode(last).code)) break;
    end = last;
  }
  return {begin, static_cast<std::size_t>(end - begin)};
}

std::size_t count_characters(std::string_view text) {
  // Bytes that aren't continuations, eight at a time: the lowest bit of each byte of `starts`.
  constexpr uint64_t kOnes = 0x0101010101010101;  // times it: the sum of all bytes, in the highest
  const char* at = text.data();
  std::size_t left = text.size();
  std::size_t count = 0;
#if defined(SMOLFAST_X86)
  while (left >= 16) {
    // At most 255 a byte, before the bytes are added up.
    __m128i sums = _mm_setzero_si128();
    const std::size_t rounds = std::min<std::size_t>(left / 16, 255);
    for (std::size_t i = 0; i < rounds; ++i, at += 16) {
      const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
      sums = _mm_sub_epi8(sums, _mm_cmpgt_epi8(x, _mm_set1_epi8(-65)));  // continuations are -128 to -65
    }
    left -= rounds * 16;
    count += sum_bytes(sums);
  }
#endif
  while (left >= 8) {
    // At most 255 a byte, before the bytes are added up.
    uint64_t sums = 0;
    const std::size_t rounds = std::min<std::size_t>(left / 8, 255);
    for (std::size_t i = 0; i < rounds; ++i, at += 8) {
      uint64_t eight;
      std::memcpy(&eight, at, 8);
      sums += (~(eight >> 7) | eight >> 6) & kOnes;
    }
    left -= rounds * 8;
    constexpr uint64_t kEven = 0x00FF00FF00FF00FF;
    count += (((sums & kEven) + (sums >> 8 & kEven)) * 0x0001000100010001) >> 48;
  }
  // The rest as the end of the last eight, or of fewer.
  uint64_t eight = 0;
  if (text.size() >= 8) {
    if (left == 0) return count;
    eight = text::load_eight(at + left - 8) >> (8 * (8 - left));
  } else {
    for (std::size_t i = 0; i < left; ++i) eight |= uint64_t{static_cast<uint8_t>(at[i])} << (8 * i);
  }
  const uint64_t continuations = (eight & ~(eight << 1) & 0x8080808080808080) >> 7;
  return count + left - (continuations * kOnes >> 56);
}

bool begins_words(std::string_view text, std::size_t least) {
  constexpr std::size_t kGlance = 32;
  uint32_t gaps = 0;
  uint32_t printable = 0;
#if defined(SMOLFAST_X86)
  char copy[kGlance] = {};
  const char* at = text.data();
  if (text.size() < kGlance) {
    if (!text.empty()) std::memcpy(copy, at, text.size());
    at = copy;
  }
  for (int i = 0; i < 2; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at) + i);
    gaps |= static_cast<uint32_t>(text::block_mask(text::bytes_equal(x, ' '), i));
    printable |= static_cast<uint32_t>(text::block_mask(text::bytes_between(x, '!', '~' - '!'), i));
  }
#else
  const std::size_t size = std::min(text.size(), kGlance);
  for (std::size_t i = 0; i < size; ++i) {
    gaps |= uint32_t{text[i] == ' '} << i;
    printable |= uint32_t{is_printable(text[i])} << i;
  }
#endif
  uint32_t begins = printable & (gaps << 1 | 1);
  for (std::size_t i = 1; i < least && begins != 0; ++i) begins &= begins - 1;
  return begins != 0;
}

bool LineSplitter::next(std::string_view& line) {
  if (left_.empty()) return false;
  const char* const begin = left_.data();
  const char* const end = begin + left_.size();
  for (const char* at = begin; (at = find_break(at, end)) < end; ++at) {
    const std::size_t size = break_size(at, end);
    if (size == 0) continue;
    line = left_.substr(0, static_cast<std::size_t>(at - begin));
    left_.remove_prefix(line.size() + size);
    return true;
  }
  line = left_;
  left_ = {};
  return true;
}

}  // namespace smolfast::filters

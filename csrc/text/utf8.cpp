#include "text/utf8.h"

#include "text/byte_loops.h"

namespace smolfast::text {
namespace {

// The well-formed character at `at` (Unicode 18, table 3-7): its size, or 0 and in `good` how many bytes of it are
// right.
std::size_t well_formed(const uint8_t* at, const uint8_t* end, std::size_t& good) {
  const uint8_t lead = *at;
  good = 1;
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (; good < size; ++good) {
    if (at + good == end || at[good] < low || at[good] > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return size;
}

}  // namespace

std::size_t first_invalid_byte(std::string_view text) {
  const auto* begin = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* end = begin + text.size();
  for (const uint8_t* at = begin; at < end;) {
    std::size_t good = 0;
    const std::size_t size = well_formed(at, end, good);
    if (size == 0) return static_cast<std::size_t>(at - begin);
    at += size;
  }
  return text.size();
}

bool is_valid_utf8(std::string_view text) {
  return scan_kernels().is_valid_utf8(text.data(), text.size());
}

void append_repaired(std::string_view text, Buffer& out) {
  const auto* at = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* end = at + text.size();
  const uint8_t* copied = at;
  const auto flush = [&] { out.append(reinterpret_cast<const char*>(copied), static_cast<std::size_t>(at - copied)); };
  while (at < end) {
    std::size_t good = 0;
    const std::size_t size = well_formed(at, end, good);
    if (size != 0) {
      at += size;
      continue;
    }
    flush();
    out.append("\xEF\xBF\xBD");
    at += good;
    copied = at;
  }
  flush();
}

}  // namespace smolfast::text

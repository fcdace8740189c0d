// UTF-8: decoding and encoding one character, checking and repairing a string.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "text/buffer.h"

namespace smolfast::text {

// One character of valid UTF-8.
struct Decoded {
  uint32_t code;
  uint32_t size;
};

inline Decoded decode(const char* at) {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const uint32_t lead = p[0];
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 31) << 6 | (p[1] & 63u), 2};
  if (lead < 0xF0) return {(lead & 15) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u), 3};
  return {(lead & 7) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u), 4};
}

// Writes a code point and returns the end; up to 4 bytes.
inline char* encode(uint32_t code, char* out) {
  if (code < 0x80) {
    *out = static_cast<char>(code);
    return out + 1;
  }
  if (code < 0x800) {
    out[0] = static_cast<char>(0xC0 | code >> 6);
    out[1] = static_cast<char>(0x80 | (code & 63));
    return out + 2;
  }
  if (code < 0x10000) {
    out[0] = static_cast<char>(0xE0 | code >> 12);
    out[1] = static_cast<char>(0x80 | (code >> 6 & 63));
    out[2] = static_cast<char>(0x80 | (code & 63));
    return out + 3;
  }
  out[0] = static_cast<char>(0xF0 | code >> 18);
  out[1] = static_cast<char>(0x80 | (code >> 12 & 63));
  out[2] = static_cast<char>(0x80 | (code >> 6 & 63));
  out[3] = static_cast<char>(0x80 | (code & 63));
  return out + 4;
}

inline bool is_continuation(char byte) {
  return static_cast<int8_t>(byte) < -64;
}

// The start of the character before `at` in valid UTF-8; `at` must not be the text's start.
inline const char* previous(const char* at) {
  --at;
  while (is_continuation(*at)) --at;
  return at;
}

// True if all of it is well-formed UTF-8 (Unicode §3.9, table 3-7). Vectorised.
bool is_valid_utf8(std::string_view text);
// The offset of the first byte that no well-formed character holds, or text.size().
std::size_t first_invalid_byte(std::string_view text);
// Appends `text` with each maximal ill-formed part replaced by U+FFFD, as the WHATWG decoder does (Unicode §3.9,
// "U+FFFD Substitution of Maximal Subparts").
void append_repaired(std::string_view text, Buffer& out);

}  // namespace smolfast::text

// White space above ASCII, as Python's str.isspace has it.
#pragma once

namespace smolfast::text {

// Bytes of the space that begins at `at`, or 0. Above ASCII, spaces are U+0085, U+00A0, U+1680, U+2000–200A, U+2028,
// U+2029, U+202F, U+205F and U+3000.
inline int space_size(const char* at, const char* end) {
  const auto byte = [&](int i) { return at + i < end ? static_cast<unsigned char>(at[i]) : 0u; };
  switch (byte(0)) {
    case 0xC2:
      return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;
    case 0xE1:
      return byte(1) == 0x9A && byte(2) == 0x80 ? 3 : 0;
    case 0xE2:
      if (byte(1) == 0x80) {
        const unsigned last = byte(2);
        return (last >= 0x80 && last <= 0x8A) || last == 0xA8 || last == 0xA9 || last == 0xAF ? 3 : 0;
      }
      return byte(1) == 0x81 && byte(2) == 0x9F ? 3 : 0;
    case 0xE3:
      return byte(1) == 0x80 && byte(2) == 0x80 ? 3 : 0;
    default:
      return 0;
  }
}

}  // namespace smolfast::text

// Short reads, writes and copies.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace smolfast::text {

// Copies a stretch, mostly a short one, with whole vectors where the source allows it; the target has Buffer::kSlack.
inline char* copy_stretch(const char* from, const char* to_end, const char* source_end, char* out) {
  const auto bytes = static_cast<std::size_t>(to_end - from);
  if (bytes > 256 || source_end - to_end < 32) {
    if (bytes != 0) std::memcpy(out, from, bytes);
    return out + bytes;
  }
  for (std::size_t i = 0; i < bytes; i += 32) std::memcpy(out + i, from + i, 32);
  return out + bytes;
}

// Between the machine's order and the first byte lowest.
inline uint64_t first_lowest(uint64_t bytes) {
  if constexpr (std::endian::native == std::endian::little) return bytes;
  bytes = (bytes & 0x00FF00FF00FF00FF) << 8 | (bytes >> 8 & 0x00FF00FF00FF00FF);
  bytes = (bytes & 0x0000FFFF0000FFFF) << 16 | (bytes >> 16 & 0x0000FFFF0000FFFF);
  return bytes << 32 | bytes >> 32;
}

// The first byte lowest.
inline uint64_t load_eight(const char* at) {
  uint64_t bytes = 0;
  std::memcpy(&bytes, at, sizeof(bytes));
  return first_lowest(bytes);
}

// The highest bit of each byte; the first byte's lowest.
inline uint64_t top_bits(uint64_t eight) {
  return ((eight & 0x8080808080808080) * 0x0002040810204081) >> 56;
}

// Masks of so many first bytes of eight.
inline constexpr uint64_t kFirstBytes[9] = {
    0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF};

inline void store_eight(uint64_t bytes, char* out) {
  bytes = first_lowest(bytes);
  std::memcpy(out, &bytes, sizeof(bytes));
}

inline void store_four(uint32_t bytes, char* out) {
  const char each[4] = {static_cast<char>(bytes), static_cast<char>(bytes >> 8), static_cast<char>(bytes >> 16),
                        static_cast<char>(bytes >> 24)};
  std::memcpy(out, std::endian::native == std::endian::little ? reinterpret_cast<const char*>(&bytes) : each, 4);
}

// encode() of a code point of two or three bytes, without a branch; writes four.
inline char* encode_short(uint32_t code, char* out) {
  const uint32_t last = 0x80 | (code & 63);
  const uint32_t two = 0xC0 | code >> 6 | last << 8;
  const uint32_t three = 0xE0 | code >> 12 | (0x80 | (code >> 6 & 63)) << 8 | last << 16;
  const bool is_long = code >= 0x800;
  store_four(is_long ? three : two, out);
  return out + 2 + is_long;
}

}  // namespace smolfast::text

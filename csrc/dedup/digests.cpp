#include "dedup/digests.h"

#include <bit>
#include <cstring>

#include "dedup/hash.h"

namespace smolfast::dedup {
namespace {

uint32_t load32(const char* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

uint32_t swap_bytes(uint32_t x) {
  return x << 24 | (x & 0xFF00u) << 8 | (x >> 8 & 0xFF00u) | x >> 24;
}

// SHA-1's compression function on one 64-byte block.
void sha1_block(uint32_t state[5], const char* block) {
  uint32_t schedule[80];
  for (int t = 0; t < 16; ++t) schedule[t] = swap_bytes(load32(block + 4 * t));
  for (int t = 16; t < 80; ++t) {
    schedule[t] = std::rotl(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1);
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  const auto rounds = [&](int first, uint32_t constant, auto choose) {
    for (int t = first; t < first + 20; ++t) {
      const uint32_t next = std::rotl(a, 5) + choose(b, c, d) + e + constant + schedule[t];
      e = d;
      d = c;
      c = std::rotl(b, 30);
      b = a;
      a = next;
    }
  };
  const auto parity = [](uint32_t x, uint32_t y, uint32_t z) { return x ^ y ^ z; };
  rounds(0, 0x5A827999u, [](uint32_t x, uint32_t y, uint32_t z) { return z ^ (x & (y ^ z)); });
  rounds(20, 0x6ED9EBA1u, parity);
  rounds(40, 0x8F1BBCDCu, [](uint32_t x, uint32_t y, uint32_t z) { return (x & y) | (z & (x | y)); });
  rounds(60, 0xCA62C1D6u, parity);
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
}

constexpr uint32_t kPrime32[5] = {0x9E3779B1u, 0x85EBCA77u, 0xC2B2AE3Du, 0x27D4EB2Fu, 0x165667B1u};
constexpr uint64_t kPrime64[5] = {0x9E3779B185EBCA87u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u, 0x85EBCA77C2B2AE63u,
                                  0x27D4EB2F165667C5u};

uint64_t round64(uint64_t accumulator, uint64_t lane) {
  return std::rotl(accumulator + lane * kPrime64[1], 31) * kPrime64[0];
}

}  // namespace

uint64_t sha1_prefix(const char* data, std::size_t size) {
  uint32_t state[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u, 0xC3D2E1F0u};
  std::size_t left = size;
  for (; left >= 64; left -= 64, data += 64) sha1_block(state, data);
  char tail[128] = {};
  if (left != 0) std::memcpy(tail, data, left);
  tail[left] = static_cast<char>(0x80);
  const std::size_t padded = left < 56 ? 64 : 128;
  const uint64_t bits = uint64_t{size} * 8;
  for (int i = 0; i < 8; ++i) tail[padded - 1 - static_cast<std::size_t>(i)] = static_cast<char>(bits >> (8 * i));
  sha1_block(state, tail);
  if (padded == 128) sha1_block(state, tail + 64);
  return uint64_t{swap_bytes(state[1])} << 32 | swap_bytes(state[0]);
}

uint32_t xxh32(const char* data, std::size_t size) {
  const char* end = data + size;
  uint32_t h = kPrime32[4];
  if (size >= 16) {
    uint32_t lane[4] = {kPrime32[0] + kPrime32[1], kPrime32[1], 0, 0u - kPrime32[0]};
    for (; end - data >= 16; data += 16) {
      for (int i = 0; i < 4; ++i) {
        lane[i] = std::rotl(lane[i] + load32(data + 4 * i) * kPrime32[1], 13) * kPrime32[0];
      }
    }
    h = std::rotl(lane[0], 1) + std::rotl(lane[1], 7) + std::rotl(lane[2], 12) + std::rotl(lane[3], 18);
  }
  h += static_cast<uint32_t>(size);
  for (; end - data >= 4; data += 4) h = std::rotl(h + load32(data) * kPrime32[2], 17) * kPrime32[3];
  for (; data < end; ++data) h = std::rotl(h + static_cast<unsigned char>(*data) * kPrime32[4], 11) * kPrime32[0];
  h = (h ^ h >> 15) * kPrime32[1];
  h = (h ^ h >> 13) * kPrime32[2];
  return h ^ h >> 16;
}

uint64_t xxh64(const char* data, std::size_t size) {
  const char* end = data + size;
  uint64_t h = kPrime64[4];
  if (size >= 32) {
    uint64_t lane[4] = {kPrime64[0] + kPrime64[1], kPrime64[1], 0, 0u - kPrime64[0]};
    for (; end - data >= 32; data += 32) {
      for (int i = 0; i < 4; ++i) lane[i] = round64(lane[i], load64(data + 8 * i));
    }
    h = std::rotl(lane[0], 1) + std::rotl(lane[1], 7) + std::rotl(lane[2], 12) + std::rotl(lane[3], 18);
    for (int i = 0; i < 4; ++i) h = (h ^ round64(0, lane[i])) * kPrime64[0] + kPrime64[3];
  }
  h += size;
  for (; end - data >= 8; data += 8) h = std::rotl(h ^ round64(0, load64(data)), 27) * kPrime64[0] + kPrime64[3];
  if (end - data >= 4) {
    h = std::rotl(h ^ load32(data) * kPrime64[0], 23) * kPrime64[1] + kPrime64[2];
    data += 4;
  }
  for (; data < end; ++data) h = std::rotl(h ^ static_cast<unsigned char>(*data) * kPrime64[4], 11) * kPrime64[0];
  h = (h ^ h >> 33) * kPrime64[1];
  h = (h ^ h >> 29) * kPrime64[2];
  return h ^ h >> 32;
}

}  // namespace smolfast::dedup

#include "text/byte_loops.h"

#include <cstdint>
#include <cstring>

#include "base/cpu.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

bool is_valid_utf8_baseline(const char* text, std::size_t size) {
  std::size_t at = 0;
  while (at + 8 <= size) {
    uint64_t eight;
    std::memcpy(&eight, text + at, 8);
    if ((eight & 0x8080808080808080u) == 0) {
      at += 8;
      continue;
    }
    // One stretch that isn't ASCII, then back to eight bytes at a time.
    std::size_t stretch = at + 64 < size ? at + 64 : size;
    while (stretch < size && is_continuation(text[stretch])) ++stretch;
    if (first_invalid_byte({text + at, stretch - at}) != stretch - at) return false;
    at = stretch;
  }
  return first_invalid_byte({text + at, size - at}) == size - at;
}

Candidates find_candidates_baseline(const char* at, const char* end, int form, const ScanTables&) {
  while (at < end && is_continuation(*at)) ++at;
  while (at < end) {
    const char* const block = at;
    uint64_t mask = 0;
    while (at < end && at - block < kScanBlock) {
      if (end - at >= 8 && at - block <= kScanBlock - 8) {
        uint64_t eight;
        std::memcpy(&eight, at, 8);
        if ((eight & 0x8080808080808080u) == 0) {
          at += 8;
          continue;
        }
      }
      const Decoded c = decode(at);
      if (c.size > 1 && is_stop(norm_record(c.code), form)) mask |= uint64_t{1} << (at - block);
      at += c.size;
    }
    if (mask != 0) return {block, mask};
  }
  return {end, 0};
}

// Whether the character at `at`, of at least two bytes, is one that the tables hit.
bool is_hit(const char* at, const ScanTables& tables) {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const auto shared = [](const uint8_t (&t)[4][16], uint8_t a, uint8_t b) {
    return (t[0][a >> 4] & t[1][a & 15] & t[2][b >> 4] & t[3][b & 15]) != 0;
  };
  if (p[0] == 0xE3) return shared(tables.kana, p[1], p[2]);
  if (p[0] == 0xE2 || p[0] == 0xEF) return shared(tables.symbols, p[1], p[2]);
  return shared(tables.pair, p[0], p[1]);
}

bool is_ascii_upper(char c) {
  return static_cast<uint8_t>(c - 'A') < 26;
}

const char* map_case_baseline(const char* at, const char* end, char*& out, const CaseTables& tables) {
  char* to = out;
  while (at < end) {
    const char c = *at;
    if (static_cast<uint8_t>(c) < 0xC0 || !is_hit(at, tables.scan)) {
      *to++ = static_cast<char>(c + (is_ascii_upper(c) ? 'a' - 'A' : 0));
      ++at;
      continue;
    }
    const Decoded d = decode(at);
    const CaseRecord& record = tables.records[lookup(tables.index, tables.values, d.code)];
    if (d.code == kCapitalSigma || (record.size != 0 && record.size != d.size)) break;
    std::memcpy(to, record.size != 0 ? record.bytes : at, d.size);
    to += d.size;
    at += d.size;
  }
  out = to;
  return at;
}

const char* find_upper_baseline(const char* at, const char* end, const ScanTables& tables) {
  for (; at < end; ++at) {
    if (is_ascii_upper(*at) || (static_cast<uint8_t>(*at) >= 0xC0 && is_hit(at, tables))) return at;
  }
  return end;
}

}  // namespace

const ScanKernels kScanBaseline = {is_valid_utf8_baseline, find_candidates_baseline, map_case_baseline,
                                   find_upper_baseline};

const ScanKernels& scan_kernels() {
#if defined(SMOLFAST_X86) && defined(__GNUC__)
  switch (active_isa()) {
    case Isa::kAvx512:
      return kScanAvx512;
    case Isa::kAvx2:
      return kScanAvx2;
    default:
      break;
  }
#endif
  return kScanBaseline;
}

}  // namespace smolfast::text

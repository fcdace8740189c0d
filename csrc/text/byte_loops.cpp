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

// Two passes over ASCII alone are as fast.
bool is_valid_without_stops_baseline(const char*, std::size_t, const ScanTables&) {
  return false;
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

AsciiCase lower_ascii_baseline(const char* text, std::size_t size, char* out) {
  constexpr std::size_t kPart = 1024;
  bool has_upper = false;
  for (std::size_t at = 0; at < size; at += kPart) {
    const std::size_t end = size - at < kPart ? size : at + kPart;
    uint8_t all = 0, upper = 0;
    for (std::size_t i = at; i < end; ++i) {
      const auto c = static_cast<uint8_t>(text[i]);
      const auto step = static_cast<uint8_t>(is_ascii_upper(text[i]) ? 'a' - 'A' : 0);
      all |= c;
      upper |= step;
      out[i] = static_cast<char>(c + step);
    }
    if (all >= 0x80) return {false, false};
    has_upper |= upper != 0;
  }
  return {true, has_upper};
}

const char* find_upper_baseline(const char* at, const char* end, const ScanTables& tables) {
  for (; at < end; ++at) {
    if (is_ascii_upper(*at) || (static_cast<uint8_t>(*at) >= 0xC0 && is_hit(at, tables))) return at;
  }
  return end;
}

// Whether a character at `at` is one that a rule of clean replaces or removes.
bool is_unclean(const char* at, const CleanTables& tables) {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const int second = p[0] < 0x80 ? 0 : p[1];
  const auto& t = tables.pair;
  if ((t[0][p[0] >> 4] & t[1][p[0] & 15] & t[2][second >> 4] & t[3][second & 15]) != 0) return true;
  if (p[0] < 0xE0) return false;
  const auto& u = tables.triple;
  return (u[0][p[0] >> 4] & u[1][p[0] & 15] & u[2][p[1] >> 4] & u[3][p[1] & 15] & u[4][p[2] >> 4] & u[5][p[2] & 15]) !=
         0;
}

const char* find_unclean_baseline(const char* at, const char* end, bool line_start, const CleanTables& tables) {
  int line_feeds = line_start ? 1 : 0;
  bool after_blank = false;
  for (; at < end; ++at) {
    const auto c = static_cast<uint8_t>(*at);
    if (c == '\n') {
      if (after_blank && tables.trailing_whitespace) return at;
      if (tables.line_feeds != 0 && line_feeds >= tables.line_feeds) return at;
      ++line_feeds;
      after_blank = false;
      continue;
    }
    if ((c < ' ' || c == 0x7F || c >= 0xC2) && is_unclean(at, tables)) return at;
    line_feeds = 0;
    after_blank = c == ' ' || c == '\t';
  }
  return end;
}

}  // namespace

const ScanKernels kScanBaseline = {is_valid_utf8_baseline,   is_valid_without_stops_baseline,
                                   find_candidates_baseline, map_case_baseline,
                                   lower_ascii_baseline,     find_upper_baseline,
                                   find_unclean_baseline};

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

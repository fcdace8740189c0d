#include "text/casing.h"

#include <cstring>

#include "text/utf8.h"

namespace smolfast::text {
namespace {

// How many characters are mapped one by one before the vectors are tried again.
constexpr int kCluster = 40;

}  // namespace

bool is_final_sigma(const char* begin, const char* at, const char* end) {
  bool cased_before = false;
  for (const char* p = at; p > begin && !cased_before;) {
    p = previous(p);
    const uint16_t k = kind(decode(p).code);
    if ((k & kCaseIgnorable) != 0) continue;
    if ((k & kCased) == 0) return false;
    cased_before = true;
  }
  if (!cased_before) return false;
  for (const char* p = at + 2; p < end;) {
    const Decoded c = decode(p);
    const uint16_t k = kind(c.code);
    if ((k & kCaseIgnorable) == 0) return (k & kCased) == 0;
    p += c.size;
  }
  return true;
}

CaseMapper::CaseMapper(Mapping mapping)
    : lower_(mapping == Mapping::kLower),
      tables_(lower_ ? CaseTables{kLowerIndex, kLowerValues, kLowerRecords, kScanLower}
                     : CaseTables{kFoldIndex, kFoldValues, kFoldRecords, kScanFold}),
      kernels_(scan_kernels()) {}

std::optional<bool> CaseMapper::run_unchecked(std::string_view text, Buffer& out) {
  char* const to = out.room(text.size());
  const AsciiCase found = kernels_.lower_ascii(text.data(), text.size(), to);
  if (!found.is_ascii) return std::nullopt;
  if (found.has_upper) out.commit(to + text.size());
  return found.has_upper;
}

bool CaseMapper::run(std::string_view text, Buffer& out) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  // The first real change; up to there nothing is written.
  const char* at = begin;
  for (;;) {
    at = kernels_.find_upper(at, end, tables_.scan);
    if (at == end) return false;
    const Decoded c = decode(at);
    if (c.size == 1 || lookup(tables_.index, tables_.values, c.code) != 0) break;
    at += c.size;
  }
  out.append(begin, static_cast<std::size_t>(at - begin));
  while (at < end) {
    char* to = out.room(static_cast<std::size_t>(end - at));
    at = kernels_.map_case(at, end, to, tables_);
    out.commit(to);
    // Mappings of another size come in clusters: stay until two characters are plain.
    to = out.room(kCluster * sizeof(CaseRecord));
    for (int plain = 0, n = 0; at < end && plain < 2 && n < kCluster; ++n) {
      const Decoded c = decode(at);
      if (c.size == 1) {
        const auto byte = static_cast<uint8_t>(c.code);
        *to++ = static_cast<char>(byte + (static_cast<uint8_t>(byte - 'A') < 26 ? 'a' - 'A' : 0));
        ++plain;
      } else if (const uint16_t record = lookup(tables_.index, tables_.values, c.code); record == 0) {
        std::memcpy(to, at, c.size);
        to += c.size;
        ++plain;
      } else {
        const CaseRecord& mapped = tables_.records[record];
        std::memcpy(to, mapped.bytes, sizeof(mapped.bytes));
        if (lower_ && c.code == kCapitalSigma && is_final_sigma(begin, at, end)) to[1] = '\x82';
        to += mapped.size;
        plain = 0;
      }
      at += c.size;
    }
    out.commit(to);
  }
  return true;
}

}  // namespace smolfast::text

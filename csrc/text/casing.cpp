#include "text/casing.h"

#include <cstring>

#include "text/utf8.h"

namespace smolfast::text {
namespace {

constexpr uint32_t kCapitalSigma = 0x3A3;
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
      index_(lower_ ? kLowerIndex : kFoldIndex),
      values_(lower_ ? kLowerValues : kFoldValues),
      records_(lower_ ? kLowerRecords : kFoldRecords),
      tables_(lower_ ? kScanLower : kScanFold),
      kernels_(scan_kernels()) {}

bool CaseMapper::run(std::string_view text, Buffer& out) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  // The first real change; up to there nothing is written.
  const char* at = begin;
  for (;;) {
    at = kernels_.find_upper(at, end, tables_);
    if (at == end) return false;
    const Decoded c = decode(at);
    if (c.size == 1 || lookup(index_, values_, c.code) != 0) break;
    at += c.size;
  }
  out.append(begin, static_cast<std::size_t>(at - begin));
  while (at < end) {
    char* to = out.room(static_cast<std::size_t>(end - at));
    at = kernels_.copy_lowered(at, end, to, tables_);
    out.commit(to);
    // What must be looked up comes in clusters: stay with it until a few characters are plain.
    to = out.room(kCluster * sizeof(CaseRecord));
    for (int plain = 0, n = 0; at < end && plain < 4 && n < kCluster; ++n) {
      const Decoded c = decode(at);
      if (c.size == 1) {
        const auto byte = static_cast<uint8_t>(c.code);
        *to++ = static_cast<char>(byte + (static_cast<uint8_t>(byte - 'A') < 26 ? 'a' - 'A' : 0));
        ++plain;
      } else if (const uint16_t record = lookup(index_, values_, c.code); record == 0) {
        std::memcpy(to, at, c.size);
        to += c.size;
        ++plain;
      } else {
        const CaseRecord& mapped = records_[record];
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

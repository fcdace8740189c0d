#include "text/stream_safe.h"

#include "text/tables.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

constexpr int kMostNonstarters = 30;

// How many nonstarters a character's NFKD starts and ends with, and whether it is nothing else.
struct Nonstarters {
  int leading;
  int trailing;
  bool all;
};

Nonstarters nonstarters(uint32_t code) {
  const NormRecord& record = norm_record(code);
  if (record.compatibility_bytes == 0) {
    const int one = record.combining_class != 0 ? 1 : 0;
    return {one, one, one != 0};
  }
  Nonstarters found{0, 0, true};
  const char* at = reinterpret_cast<const char*>(kDecompositions) + record.compatibility;
  for (const char* const end = at + record.compatibility_bytes; at < end;) {
    const Decoded c = decode(at);
    if (norm_record(c.code).combining_class != 0) {
      ++found.trailing;
      if (found.all) ++found.leading;
    } else {
      found.trailing = 0;
      found.all = false;
    }
    at += c.size;
  }
  return found;
}

}  // namespace

bool make_stream_safe(std::string_view text, Buffer& out) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const char* copied = at;
  int count = 0;
  bool changed = false;
  while (at < end) {
    if (static_cast<uint8_t>(*at) < 0x80) {
      count = 0;
      ++at;
      continue;
    }
    const Decoded c = decode(at);
    const Nonstarters n = nonstarters(c.code);
    if (count + n.leading > kMostNonstarters) {
      out.append(copied, static_cast<std::size_t>(at - copied));
      out.append("\xCD\x8F");
      copied = at;
      count = 0;
      changed = true;
    }
    count = n.all ? count + n.trailing : n.trailing;
    at += c.size;
  }
  if (changed) out.append(copied, static_cast<std::size_t>(end - copied));
  return changed;
}

}  // namespace smolfast::text

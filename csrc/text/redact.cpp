#include "text/redact.h"

#include <cstdint>
#include <cstring>

#include "text/tables.h"
#include "text/utf8.h"

namespace smolfast::text {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_label(char c) {
  return is_alphanumeric(c) || c == '-';
}
bool is_atom(char c) {
  return is_alphanumeric(c) || (c != '\0' && std::strchr("!#$%&'*+/=?^_`{|}~-", c) != nullptr);
}

// Whether the character at `at` is one that \w matches in Python: alphanumeric, or an underscore.
bool is_word(const char* at) {
  const Decoded c = decode(at);
  return c.code == '_' || (kind(c.code) & kAlphanumeric) != 0;
}

// The bytes of the longest number up to 255, of one to three digits, at `at`; 0 if there is none.
int octet_bytes(const char* at, const char* end) {
  int n = 0;
  while (n < 3 && at + n < end && is_digit(at[n])) ++n;
  if (n == 3 && (at[0] > '2' || (at[0] == '2' && (at[1] > '5' || (at[1] == '5' && at[2] > '5'))))) n = 2;
  return n;
}

// Past a number up to 255 and the dot that follows it at once; null if it isn't so.
const char* skip_octet_dot(const char* at, const char* end) {
  const int n = octet_bytes(at, end);
  return n != 0 && at + n < end && at[n] == '.' ? at + n + 1 : nullptr;
}

// Past the domain name or [address literal] after an @, or null.
const char* skip_domain(const char* at, const char* end) {
  if (at < end && *at == '[') {
    const char* p = at + 1;
    for (int i = 0; i < 3 && p != nullptr; ++i) p = skip_octet_dot(p, end);
    if (p == nullptr) return nullptr;
    const char* last = p + octet_bytes(p, end);
    if (last != p && last < end && *last == ']') return last + 1;
    last = p;
    while (last < end && is_label(*last)) ++last;
    if (last != p && is_alphanumeric(last[-1]) && last + 1 < end && last[0] == ':' && last[1] == ']') return last + 2;
    return nullptr;
  }
  // Labels of letters, digits and inner hyphens, at least two.
  for (bool dotted = false;; dotted = true) {
    if (at >= end || !is_alphanumeric(*at)) return nullptr;
    const char* run = at;
    const char* last = at;
    for (; run < end && is_label(*run); ++run) {
      if (is_alphanumeric(*run)) last = run;
    }
    const bool more = last + 1 == run && run + 1 < end && *run == '.' && is_alphanumeric(run[1]);
    if (!more) return dotted ? last + 1 : nullptr;
    at = run + 1;
  }
}

// Where the address whose @ stands at `at` starts, no earlier than `from`; null if nothing before it can be one.
const char* local_part(const char* begin, const char* from, const char* at) {
  if (at == from || !is_atom(at[-1])) return nullptr;
  const char* start = at - 1;
  for (;;) {
    if (start > from && is_atom(start[-1])) {
      --start;
    } else if (start - 1 > from && start[-1] == '.' && is_atom(start[-2])) {
      start -= 2;
    } else {
      break;
    }
  }
  // The first atom character at a word boundary.
  for (const char* p = start; p < at; ++p) {
    if (*p == '.') continue;
    const bool before = p > begin && is_word(previous(p));
    if (before != is_word(p)) return p;
  }
  return nullptr;
}

// IANA's IPv4 special-purpose registry, "globally reachable" being false; multicast counts as public, as in Python's
// ipaddress.
bool is_public(uint32_t ip) {
  const auto in = [ip](uint32_t a, uint32_t b, uint32_t c, uint32_t d, int bits) {
    return ((ip ^ (a << 24 | b << 16 | c << 8 | d)) >> (32 - bits)) == 0;
  };
  if (in(192, 0, 0, 9, 32) || in(192, 0, 0, 10, 32)) return true;
  return !(in(0, 0, 0, 0, 8) || in(10, 0, 0, 0, 8) || in(100, 64, 0, 0, 10) || in(127, 0, 0, 0, 8) ||
           in(169, 254, 0, 0, 16) || in(172, 16, 0, 0, 12) || in(192, 0, 0, 0, 24) || in(192, 0, 2, 0, 24) ||
           in(192, 168, 0, 0, 16) || in(198, 18, 0, 0, 15) || in(198, 51, 100, 0, 24) || in(203, 0, 113, 0, 24) ||
           in(240, 0, 0, 0, 4));
}

// Whether the dotted quad is an address (no leading zeros) that is to go.
bool must_go(const char* at, const char* end, bool public_only) {
  uint32_t ip = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t octet = 0;
    const char* const start = at;
    while (at < end && is_digit(*at)) octet = octet * 10 + static_cast<uint32_t>(*at++ - '0');
    if (at - start > 1 && *start == '0') return false;
    ip = ip << 8 | octet;
    ++at;
  }
  return !public_only || is_public(ip);
}

class Replacer {
 public:
  Replacer(const char* begin, const std::vector<std::string>& replacements, Buffer& out)
      : copied_(begin), replacements_(replacements), out_(out) {}

  void replace(const char* from, const char* to) {
    out_.append(copied_, static_cast<std::size_t>(from - copied_));
    out_.append(replacements_[used_++ % replacements_.size()]);
    copied_ = to;
  }
  bool finish(const char* end) {
    if (used_ != 0) out_.append(copied_, static_cast<std::size_t>(end - copied_));
    return used_ != 0;
  }

 private:
  const char* copied_;
  const std::vector<std::string>& replacements_;
  Buffer& out_;
  std::size_t used_ = 0;
};

const char* find(const char* at, const char* end, char c) {
  return at == end ? nullptr : static_cast<const char*>(std::memchr(at, c, static_cast<std::size_t>(end - at)));
}

}  // namespace

bool Redactor::redact_emails(std::string_view text, Buffer& out) const {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  Replacer replacer(begin, options_.email_replacements, out);
  const char* from = begin;    // where a match may start
  const char* search = begin;  // where the next @ is looked for
  while (const char* at = find(search, end, '@')) {
    search = at + 1;
    const char* const domain_end = skip_domain(at + 1, end);
    if (domain_end == nullptr) continue;
    const char* const start = local_part(begin, from, at);
    if (start == nullptr) continue;
    replacer.replace(start, domain_end);
    from = search = domain_end;
  }
  return replacer.finish(end);
}

bool Redactor::redact_ips(std::string_view text, Buffer& out) const {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  Replacer replacer(begin, options_.ip_replacements, out);
  const char* from = begin;
  const char* search = begin;
  while (const char* dot = find(search, end, '.')) {
    search = dot + 1;
    if (dot == from || !is_digit(dot[-1])) continue;
    // As many digits before the dot as make a number up to 255.
    const char* start = dot;
    while (start > from && dot - start < 3 && is_digit(start[-1])) --start;
    if (octet_bytes(start, dot) != dot - start) ++start;
    const char* at = skip_octet_dot(dot + 1, end);
    if (at != nullptr) at = skip_octet_dot(at, end);
    if (at == nullptr) continue;
    const int last = octet_bytes(at, end);
    if (last == 0) continue;
    if (must_go(start, at + last, options_.public_only)) replacer.replace(start, at + last);
    from = search = at + last;
  }
  return replacer.finish(end);
}

bool Redactor::run(std::string_view text, Buffer& out) {
  bool changed = false;
  if (options_.emails) {
    if (!options_.ips) return redact_emails(text, out);
    without_emails_.clear();
    changed = redact_emails(text, without_emails_);
    if (changed) text = without_emails_.view();
  }
  if (options_.ips && redact_ips(text, out)) return true;
  if (changed) out.append(text);
  return changed;
}

}  // namespace smolfast::text

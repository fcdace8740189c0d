#include "text/spacy_url.h"

#include <cstring>

namespace smolfast::text {
namespace {

class UrlMatcher {
 public:
  UrlMatcher(const SpacyClasses& classes, const char* end) : classes_(classes), end_(end) {}

  uint8_t flags(const char* at) const { return classes_.flags[classes_(decode(at).code)]; }
  const char* after(const char* at) const { return at + decode(at).size; }

  // "scheme://": where it ends, or nullptr. A scheme is of word characters, "+", "-" and ".", two at least.
  const char* after_scheme(const char* begin) const {
    const char* at = begin;
    int count = 0;
    while (at < end_ && ((flags(at) & kSpacyWord) != 0 || *at == '+' || *at == '-' || *at == '.')) {
      at = after(at);
      ++count;
    }
    return count >= 2 && end_ - at >= 3 && std::memcmp(at, "://", 3) == 0 ? at + 3 : nullptr;
  }

  bool host_and_rest(const char* at) const { return address_and_rest(at) || name_and_rest(at); }

 private:
  // What may follow a host: a port of two to five digits, then a path, a query or a fragment.
  bool rest(const char* at) const {
    if (at < end_ && *at == ':') {
      int digits = 0;
      for (++at; at < end_ && digits < 6 && (flags(at) & kSpacyDigit) != 0; at = after(at)) ++digits;
      if (digits < 2 || digits > 5) return false;
    }
    return at == end_ || *at == '/' || *at == '?' || *at == '#';
  }

  // Labels of up to 64 characters with a dot after each, and a last one of 2 to 63 lower-case or uncased letters.
  bool name_and_rest(const char* at) const {
    for (bool first = true;; first = false) {
      if (!first) {
        const char* top = at;
        int letters = 0;
        while (top < end_ && letters < 64 && (flags(top) & kSpacyLower) != 0) {
          top = after(top);
          ++letters;
        }
        if (letters >= 2 && letters <= 63 && rest(top)) return true;
      }
      int size = 0;
      bool closed = false;
      while (at < end_ && *at != '.') {
        const bool edge = (flags(at) & kSpacyHost) != 0;
        if (!edge && (size == 0 || (*at != '_' && *at != '-'))) return false;
        closed = edge;
        at = after(at);
        if (++size > 64) return false;
      }
      if (at == end_ || size == 0 || !closed) return false;
      ++at;
    }
  }

  // One to three digits of an address: their values, or -1 for a digit outside ASCII.
  struct Group {
    int size = 0;
    int digit[3] = {};
  };
  bool read_group(const char*& at, Group& group) const {
    for (; at < end_ && (flags(at) & kSpacyDigit) != 0; at = after(at)) {
      if (group.size == 3) return false;
      group.digit[group.size++] = *at >= '0' && *at <= '9' ? *at - '0' : -1;
    }
    return group.size != 0;
  }
  static bool is(const Group& group, int number) {
    int value = 0;
    for (int i = 0; i < group.size; ++i) {
      if (group.digit[i] < 0) return false;
      value = 10 * value + group.digit[i];
    }
    return value == number && group.digit[0] != 0;
  }
  // Whether three digits are below `limit` + 1, of which the last two may be of any script where the rules say `\d`.
  static bool three(const Group& group, int tens, int last) {
    const int* d = group.digit;
    if (d[0] == 1) return true;
    if (d[0] != 2) return false;
    if (d[1] >= 0 && d[1] < tens) return true;
    return d[1] == tens && d[2] >= 0 && d[2] <= last;
  }

  // Public addresses: the first number 1 to 223, the last 1 to 254.
  bool address_and_rest(const char* at) const {
    Group groups[4];
    for (int i = 0; i < 4; ++i) {
      if (i != 0 && (at == end_ || *at++ != '.')) return false;
      if (!read_group(at, groups[i])) return false;
    }
    if (is(groups[0], 10) || is(groups[0], 127)) return false;
    if ((is(groups[0], 169) && is(groups[1], 254)) || (is(groups[0], 192) && is(groups[1], 168))) return false;
    if (is(groups[0], 172) && groups[1].size == 2) {
      const int* d = groups[1].digit;
      if ((d[0] == 1 && d[1] >= 6) || d[0] == 2 || (d[0] == 3 && (d[1] == 0 || d[1] == 1))) return false;
    }
    if (!(groups[0].size < 3 ? groups[0].digit[0] > 0 : three(groups[0], 2, 3))) return false;
    for (int i = 1; i < 3; ++i) {
      if (groups[i].size == 3 && !three(groups[i], 5, 5)) return false;
    }
    if (!(groups[3].size < 3 ? groups[3].digit[0] > 0 : three(groups[3], 5, 4))) return false;
    return rest(at);
  }

  const SpacyClasses& classes_;
  const char* end_;
};

// A host is a name whose last label, behind a dot, begins with a lower-case or uncased letter, or an address of numbers
// with three dots between. Says no only where there is neither.
bool may_have_host(const char* begin, const char* end) {
  int numbers = 0;
  for (const char* at = begin; at < end; ++at) {
    at = static_cast<const char*>(std::memchr(at, '.', static_cast<std::size_t>(end - at)));
    if (at == nullptr || at + 1 == end) break;
    const auto next = static_cast<unsigned char>(at[1]);
    if (next >= 0x80 || static_cast<unsigned char>(next - 'a') < 26) return true;
    numbers += static_cast<unsigned char>(next - '0') < 10;
  }
  return numbers >= 3;
}

}  // namespace

bool is_spacy_url(const SpacyClasses& classes, const char* begin, const char* end) {
  if (!may_have_host(begin, end)) return false;
  const UrlMatcher matcher(classes, end);
  if (matcher.host_and_rest(begin)) return true;
  const char* const host = matcher.after_scheme(begin);
  if (host != nullptr && matcher.host_and_rest(host)) return true;
  // Whatever stands before an "@" may be a user.
  for (const char* at = begin + 1; at < end; ++at) {
    at = static_cast<const char*>(std::memchr(at, '@', static_cast<std::size_t>(end - at)));
    if (at == nullptr) break;
    if (matcher.host_and_rest(at + 1)) return true;
  }
  return false;
}

}  // namespace smolfast::text

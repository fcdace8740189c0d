#include "text/clean.h"

#include <cstring>

#include "text/utf8.h"

namespace smolfast::text {
namespace {

bool is_line_end(uint32_t code) {
  return code == '\r' || code == 0x85 || code == 0x2028 || code == 0x2029;
}
bool is_zero_width(uint32_t code) {
  return code == 0xAD || code == 0x200B || code == 0x2060 || code == 0xFEFF;
}

// General category Zs but U+0020.
bool is_other_space(uint32_t code) {
  return code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

}  // namespace

Cleaner::Cleaner(const CleanOptions& options, CleanCounts& counts) : options_(options), counts_(counts) {
  for (int byte = 0; byte < 256; ++byte) {
    // Leads of the characters that a rule may touch: U+0080 to U+00BF, U+1680, U+2000 to U+2FFF, U+3000, U+FEFF.
    plain_[byte] =
        byte > ' ' && byte != 0x7F && byte != 0xC2 && byte != 0xE1 && byte != 0xE2 && byte != 0xE3 && byte != 0xEF;
  }
  if (options.form) normalizer_.emplace(*options.form);
}

Cleaner::~Cleaner() {
  for (std::size_t i = 0; i < own_.size(); ++i) counts_.counts[i].fetch_add(own_[i], std::memory_order_relaxed);
}

bool Cleaner::run(std::string_view text, Buffer& out) {
  if (!normalizer_) return apply_rules(text, out);
  ruled_.clear();
  const bool ruled = apply_rules(text, ruled_);
  if (ruled) text = ruled_.view();
  if (normalizer_->run(text, out)) {
    ++own_[CleanCounts::kForm];
    return true;
  }
  if (ruled) out.append(text);
  return ruled;
}

bool Cleaner::apply_rules(std::string_view text, Buffer& out) {
  const char* at = text.data();
  const char* const end = at + text.size();
  char* const first = out.room(text.size());
  char* to = first;
  // Where trailing white space would be cut: after the last other character, or after the last line feed.
  char* solid = first;
  int64_t line_feeds = 1;  // since the last other character; the text's start counts as one
  bool changed = false;
  const auto count = [&](CleanCounts::Rule rule, int64_t n) {
    own_[rule] += n;
    changed = true;
  };
  while (at < end) {
    if (plain_[static_cast<uint8_t>(*at)]) {
      do {
        *to++ = *at++;
      } while (at < end && plain_[static_cast<uint8_t>(*at)]);
      solid = to;
      line_feeds = 0;
      continue;
    }
    const Decoded c = decode(at);
    const char* const source = at;
    at += c.size;
    uint32_t code = c.code;
    if (options_.line_endings && is_line_end(code)) {
      count(CleanCounts::kLineEndings, 1);
      if (code == '\r' && at < end && *at == '\n') ++at;
      code = '\n';
    } else if (options_.control_characters && code != '\t' && code != '\n' &&
               (code < ' ' || (code >= 0x7F && code < 0xA0))) {
      count(CleanCounts::kControlCharacters, 1);
      continue;
    } else if (options_.zero_width && is_zero_width(code)) {
      count(CleanCounts::kZeroWidth, 1);
      continue;
    } else if (options_.spaces && is_other_space(code)) {
      count(CleanCounts::kSpaces, 1);
      code = ' ';
    }
    if (code == '\n') {
      if (options_.trailing_whitespace && to != solid) {
        count(CleanCounts::kTrailingWhitespace, to - solid);
        to = solid;
      }
      if (to != solid) line_feeds = 0;  // a line of white space that stays isn't empty
      if (options_.blank_lines >= 0 && line_feeds > options_.blank_lines) {
        count(CleanCounts::kBlankLines, 1);
        continue;
      }
      ++line_feeds;
      *to++ = '\n';
      solid = to;
    } else if (code == ' ' || code == '\t') {
      *to++ = static_cast<char>(code);
    } else {
      std::memcpy(to, source, c.size);
      to += c.size;
      solid = to;
      line_feeds = 0;
    }
  }
  if (options_.trailing_whitespace && to != solid) {
    count(CleanCounts::kTrailingWhitespace, to - solid);
    to = solid;
  }
  if (changed) out.commit(to);
  return changed;
}

}  // namespace smolfast::text

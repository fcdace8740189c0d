#include "text/clean.h"

#include <cstring>

#include "text/bytes.h"
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

Cleaner::Cleaner(const CleanOptions& options, CleanCounts& counts)
    : options_(options), tables_(options), kernels_(scan_kernels()), counts_(counts) {
  if (options.form) normalizer_.emplace(*options.form);
}

Cleaner::~Cleaner() {
  for (std::size_t i = 0; i < own_.size(); ++i) counts_.counts[i].fetch_add(own_[i], std::memory_order_relaxed);
}

bool Cleaner::run(std::string_view text, Buffer& out) {
  const std::size_t before = out.size();
  const bool ruled = apply_rules(text, out);
  if (!normalizer_) return ruled;
  if (!ruled) {
    const bool formed = normalizer_->run(text, out);
    own_[CleanCounts::kForm] += formed;
    return formed;
  }
  composed_.clear();
  if (normalizer_->run(out.view().substr(before), composed_)) {
    ++own_[CleanCounts::kForm];
    out.commit(out.data() + before);
    out.append(composed_.view());
  }
  return true;
}

bool Cleaner::apply_rules(std::string_view text, Buffer& out) {
  const char* const end = text.data() + text.size();
  const char* at = text.data();  // what lies before it is in the output
  char* to = nullptr;
  Tail tail{};
  changed_ = false;
  while (at < end) {
    const char* stretch = kernels_.find_unclean(at, end, at == text.data(), tables_);
    // The white space before it may go with it; before that, all stays.
    const bool at_end = stretch == end;
    while (stretch > at && (stretch[-1] == ' ' || stretch[-1] == '\t' || (!at_end && stretch[-1] == '\n'))) --stretch;
    if (at_end && (stretch == end || !options_.trailing_whitespace)) break;
    if (to == nullptr) {
      to = out.room(text.size());
      tail.solid = to;
    }
    if (stretch > at) {
      to = copy_stretch(at, stretch, end, to);
      tail = {to, 0};
    }
    at = stretch;
    to = take_stretch(at, end, to, tail);
  }
  if (!changed_) return false;
  to = copy_stretch(at, end, end, to);
  out.commit(to);
  return true;
}

char* Cleaner::cut_trailing(char* to, const Tail& tail) {
  if (!options_.trailing_whitespace || to == tail.solid) return to;
  count(CleanCounts::kTrailingWhitespace, to - tail.solid);
  return tail.solid;
}

char* Cleaner::take_stretch(const char*& at, const char* end, char* to, Tail& tail) {
  while (at < end) {
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
      to = cut_trailing(to, tail);
      if (to != tail.solid) tail.line_feeds = 0;  // a line of white space that stays isn't empty
      if (options_.blank_lines >= 0 && tail.line_feeds > options_.blank_lines) {
        count(CleanCounts::kBlankLines, 1);
        continue;
      }
      ++tail.line_feeds;
      *to++ = '\n';
      tail.solid = to;
    } else if (code == ' ' || code == '\t') {
      *to++ = static_cast<char>(code);
    } else {
      std::memcpy(to, source, c.size);
      to += c.size;
      tail = {to, 0};
      return to;
    }
  }
  return cut_trailing(to, tail);
}

}  // namespace smolfast::text

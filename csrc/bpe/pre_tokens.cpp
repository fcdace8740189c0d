#include "bpe/pre_tokens.h"

#include <array>
#include <cstddef>

#include "text/tables.h"
#include "text/utf8.h"

namespace smolfast::bpe {
namespace {

// The end of 's, 't, 're, 've, 'm, 'll or 'd at an apostrophe; `at` where none stands.
const char* contraction_end(const char* at, const char* end, char fold) {
  const std::ptrdiff_t left = end - at;
  if (left < 2) return at;
  const auto lower = [at, fold](int i) { return static_cast<char>(at[i] | fold); };
  const char first = lower(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if (left < 3) return at;
  const char second = lower(2);
  if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')) return at + 3;
  // U+017F, a long s, is an S in either case.
  return fold != 0 && at[1] == '\xC5' && at[2] == '\xBF' ? at + 3 : at;
}

}  // namespace

template <Pattern pattern>
typename WordCutter<pattern>::Character WordCutter<pattern>::read(const char* at) {
  static constexpr std::array<Class, 128> kAscii = [] {
    std::array<Class, 128> all{};
    for (std::size_t c = 0; c < all.size(); ++c) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      const bool number = c >= '0' && c <= '9';
      const bool space = c == ' ' || (c >= '\t' && c <= '\r');
      all[c] = letter ? Class::kLetter : number ? Class::kNumber : space ? Class::kSpace : Class::kOther;
    }
    if (pattern != Pattern::kGpt2) all['\n'] = all['\r'] = Class::kLineBreak;
    return all;
  }();
  const auto byte = static_cast<uint8_t>(*at);
  if (byte < 0x80) return {kAscii[byte], at + 1};
  const text::Decoded c = text::decode(at);
  const uint16_t kind = text::kind(c.code);
  const char* const past = at + c.size;
  if ((kind & text::kUnsettled) != 0) unsettled_ = true;
  if ((kind & text::kLetter) != 0) return {Class::kLetter, past};
  if ((kind & text::kAlphanumeric) != 0) return {Class::kNumber, past};
  return {(kind & text::kSpace) != 0 ? Class::kSpace : Class::kOther, past};
}

// Past characters of the class.
template <Pattern pattern>
const char* WordCutter<pattern>::skip(Class kind, const char* at) {
  while (at != end_) {
    const Character next = read(at);
    if (next.kind != kind) break;
    at = next.past;
  }
  return at;
}

template <Pattern pattern>
const char* WordCutter<pattern>::others_end(const char* at) {
  return skip(Class::kLineBreak, skip(Class::kOther, at));
}

template <Pattern pattern>
const char* WordCutter<pattern>::space_end(const char* at) {
  const char* after_break = nullptr;
  const char* last = at;
  const char* past = at;
  while (past != end_) {
    const Character next = read(past);
    if (next.kind != Class::kSpace && next.kind != Class::kLineBreak) break;
    last = past;
    past = next.past;
    if (next.kind == Class::kLineBreak) after_break = past;
  }
  if (after_break != nullptr) return after_break;
  return past == end_ || last == at ? past : last;
}

template <Pattern pattern>
const char* WordCutter<pattern>::next(const char* at) {
  if (*at == '\'') {
    const char fold = pattern == Pattern::kGpt2 ? 0 : 0x20;
    if (const char* const past = contraction_end(at, end_, fold); past != at) return past;
  }
  const Character first = read(at);
  if (first.kind == Class::kLetter) return skip(Class::kLetter, first.past);
  if constexpr (pattern == Pattern::kGpt2) {
    if (*at == ' ' && first.past != end_) {
      const Character second = read(first.past);
      if (second.kind != Class::kSpace) return skip(second.kind, second.past);
    }
    return first.kind == Class::kSpace ? space_end(at) : skip(first.kind, first.past);
  }
  if (first.kind == Class::kNumber) {
    const char* past = first.past;
    for (int more = pattern == Pattern::kQwen ? 0 : 2; more > 0 && past != end_; --more) {
      const Character next = read(past);
      if (next.kind != Class::kNumber) break;
      past = next.past;
    }
    return past;
  }
  if (first.kind != Class::kLineBreak && first.past != end_) {
    const Character second = read(first.past);
    if (second.kind == Class::kLetter) return skip(Class::kLetter, second.past);
    if (*at == ' ' && second.kind == Class::kOther) return others_end(second.past);
  }
  return first.kind == Class::kOther ? others_end(first.past) : space_end(at);
}

template class WordCutter<Pattern::kLlama3>;
template class WordCutter<Pattern::kQwen>;
template class WordCutter<Pattern::kGpt2>;

const char* part_end(const char* at, const char* end, int characters) {
  if (end - at <= characters) return end;
  for (int n = 0; n < characters && at != end; ++n) at += text::decode(at).size;
  return at;
}

}  // namespace smolfast::bpe

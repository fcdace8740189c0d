#include "dedup/tokens.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "base/error.h"

namespace smolfast::dedup {

namespace {

void check_size(std::string_view text) {
  if (text.size() <= TokenStream::kMaxBytes) return;
  throw Error("a document has " + std::to_string(text.size()) +
              " bytes; documents may have up to 4 GiB: split it into several");
}

}  // namespace

std::span<const text::Word> SpacyTokens::find(const text::SpacyRules& rules, std::string_view text) {
  check_size(text);
  if (rules_ != &rules) {
    finder_.emplace(rules);
    rules_ = &rules;
  }
  words_.clear();
  finder_->words(text, words_);
  return words_;
}

TokenStream::TokenStream(std::span<const text::Word> tokens) : kind_(TokenKind::kSpacy), found_(tokens) {}

TokenStream::TokenStream(TokenKind kind, std::string_view text) : kind_(kind), text_(text) {
  check_size(text);
  if (kind == TokenKind::kUnicode) words_.emplace(text);
}

bool TokenStream::next(TokenBatch& batch) {
  batch.size = 0;
  if (kind_ == TokenKind::kUnicode) {
    batch.size = words_->next(batch.tokens, TokenBatch::kCapacity);
  } else if (kind_ == TokenKind::kSpacy) {
    batch.size = std::min(found_.size(), TokenBatch::kCapacity);
    std::copy_n(found_.begin(), batch.size, batch.tokens);
    found_ = found_.subspan(batch.size);
  } else if (kind_ == TokenKind::kChar) {
    next_chars(batch);
  } else if (spaced_.at < text_.size()) {
    next_spaced(batch);
  }
  return batch.size != 0;
}

// Words are pairs of bounds, which come in turn.
void TokenStream::next_spaced(TokenBatch& batch) {
  static_assert(sizeof(text::Word) == 2 * sizeof(uint32_t) && offsetof(text::Word, end) == sizeof(uint32_t));
  uint32_t* const bounds = &batch.tokens[0].begin;
  std::size_t count = 0;
  if (open_ != kNone) bounds[count++] = open_;
  count += text::scan_spaced_words(text_, spaced_, bounds + count, 2 * TokenBatch::kCapacity);
  batch.size = count / 2;
  open_ = count % 2 != 0 ? bounds[count - 1] : kNone;
}

void TokenStream::next_chars(TokenBatch& batch) {
  std::size_t at = at_;
  while (at < text_.size() && batch.size < TokenBatch::kCapacity) {
    const std::size_t begin = at++;
    while (at < text_.size() && (static_cast<unsigned char>(text_[at]) & 0xC0) == 0x80) ++at;
    batch.tokens[batch.size++] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(at)};
  }
  at_ = at;
}

}  // namespace smolfast::dedup

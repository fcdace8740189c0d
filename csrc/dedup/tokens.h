// Documents cut into the tokens that n-grams are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "text/spacy_words.h"
#include "text/unicode_words.h"
#include "text/whitespace_words.h"

namespace smolfast::dedup {

enum class TokenKind : uint8_t {
  kUnicode,     // words, by text/unicode_words.h
  kWhitespace,  // what Python's str.split() gives
  kChar,        // code points
  kSpacy,       // those of spaCy for a language, by text/spacy_words.h
};

// A batch of tokens as byte ranges of the document.
struct TokenBatch {
  static constexpr std::size_t kCapacity = 1024;
  static constexpr std::size_t kSlack = 64;  // one 64-byte block may add up to 64 tokens past the goal

  std::size_t size = 0;
  text::Word tokens[kCapacity + kSlack];
};

// Finds spaCy's tokens of whole documents. It is made anew only when the language changes.
class SpacyTokens {
 public:
  std::span<const text::Word> find(const text::SpacyRules& rules, std::string_view text);

 private:
  const text::SpacyRules* rules_ = nullptr;
  std::optional<text::SpacyWords> finder_;
  std::vector<text::Word> words_;
};

// Gives a document's tokens batch by batch. The text must be UTF-8.
class TokenStream {
 public:
  static constexpr std::size_t kMaxBytes = 0xFFFFFF00u;  // offsets are 32 bits

  // Of any kind but kSpacy.
  TokenStream(TokenKind kind, std::string_view text);
  // Of tokens that are found already.
  explicit TokenStream(std::span<const text::Word> tokens);
  // Fills the batch with the next tokens, about kCapacity of them; false when none are left.
  bool next(TokenBatch& batch);

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFFu;

  void next_spaced(TokenBatch& batch);
  void next_chars(TokenBatch& batch);

  TokenKind kind_;
  std::optional<text::WordScanner> words_;
  std::string_view text_;
  text::SpacedPosition spaced_;
  uint32_t open_ = kNone;  // where a token that reaches spaced_.at began
  std::size_t at_ = 0;     // bytes read by code points
  std::span<const text::Word> found_;
};

}  // namespace smolfast::dedup

// How text is cut into words before byte pairs are merged, by the patterns that tokenizers of byte-level BPE have.
#pragma once

#include <cstdint>

namespace smolfast::bpe {

// Each takes the first of these that matches, as long as it can be. Llama 3's, the one of `smolfast tokenize`:
//   's, 't, 're, 've, 'm, 'll, 'd, in either case
//   letters, after one character that is no letter, number or line break, if there is one
//   one to three numbers
//   characters that are no white space, letter or number, after a space if there is one, and line breaks behind them
//   white space up to its last line break
//   white space, but for its last character where other text follows
//   white space
// Qwen's takes numbers one by one. GPT-2's knows contractions in lower case alone, takes all the numbers of a run, and
// nothing but a space before letters or numbers; line breaks are white space as any other.
enum class Pattern : uint8_t { kLlama3, kQwen, kGpt2 };

// Cuts one text, valid UTF-8 that ends at `end`.
template <Pattern pattern>
class WordCutter {
 public:
  explicit WordCutter(const char* end) : end_(end) {}

  // The end of the word that begins at `at`, which lies before the end. Words follow each other without a gap.
  const char* next(const char* at);
  // Whether a character came up that other versions of Unicode may know as a letter or number where this one doesn't,
  // or the other way round.
  bool unsettled() const { return unsettled_; }

 private:
  enum class Class : uint8_t { kOther, kLetter, kNumber, kSpace, kLineBreak };
  // A character's class, and where the next one begins.
  struct Character {
    Class kind;
    const char* past;
  };
  Character read(const char* at);
  const char* skip(Class kind, const char* at);
  const char* others_end(const char* at);
  const char* space_end(const char* at);

  const char* const end_;
  bool unsettled_ = false;
};

extern template class WordCutter<Pattern::kLlama3>;
extern template class WordCutter<Pattern::kQwen>;
extern template class WordCutter<Pattern::kGpt2>;

// The end of the first `characters` characters of [at, end), or `end` if there are no more.
const char* part_end(const char* at, const char* end, int characters);

}  // namespace smolfast::bpe

// Cleaning of training text: line ends, control and invisible characters, spaces, blank lines, then a normalisation
// form.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "text/byte_loops.h"
#include "text/clean_tables.h"
#include "text/normalize.h"
#include "text/transform.h"

namespace smolfast::text {

struct CleanOptions {
  bool line_endings = true;               // CR LF, CR, U+0085, U+2028 and U+2029 become LF
  bool control_characters = true;         // general category Cc but tab and LF goes
  bool zero_width = true;                 // U+00AD, U+200B, U+2060 and U+FEFF go; joiners stay
  bool spaces = true;                     // general category Zs becomes U+0020
  bool trailing_whitespace = true;        // spaces and tabs at the ends of lines go
  int64_t blank_lines = 1;                // how many empty lines may follow each other; -1: any number
  std::optional<Form> form = Form::kNfc;  // comes last, over what the others left
};

// What each rule changed: characters replaced or removed, and for kForm strings.
struct CleanCounts {
  enum Rule { kLineEndings, kControlCharacters, kZeroWidth, kSpaces, kTrailingWhitespace, kBlankLines, kForm, kRules };
  std::array<std::atomic<int64_t>, kRules> counts{};
};

// Text is passed over by vector scans up to where a rule changes something, and copied in runs. From there characters
// are taken one by one, until one that isn't white space stays. Cleaning twice changes nothing.
class Cleaner final : public Transform {
 public:
  // Adds to `counts`, which outlives it, when it dies.
  Cleaner(const CleanOptions& options, CleanCounts& counts);
  ~Cleaner() override;
  bool run(std::string_view text, Buffer& out) override;

 private:
  // How the output ends.
  struct Tail {
    // Where trailing white space would be cut: after the last other character, or after the last line feed.
    char* solid;
    int64_t line_feeds = 1;  // since the last other character; the text's start counts as one
  };

  bool apply_rules(std::string_view text, Buffer& out);
  // Applies the rules from `at` on until a character stays that is no white space, or to `end`.
  char* take_stretch(const char*& at, const char* end, char* to, Tail& tail);
  char* cut_trailing(char* to, const Tail& tail);
  void count(CleanCounts::Rule rule, int64_t n) {
    own_[rule] += n;
    changed_ = true;
  }

  const CleanOptions options_;
  const CleanTables tables_;
  const ScanKernels& kernels_;
  CleanCounts& counts_;
  std::array<int64_t, CleanCounts::kRules> own_{};
  bool changed_ = false;  // the text at hand
  std::optional<Normalizer> normalizer_;
  Buffer composed_;
};

}  // namespace smolfast::text

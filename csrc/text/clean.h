// Cleaning of training text: line ends, control and invisible characters, spaces, blank lines, then a normalisation
// form.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

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

// Cleaning twice changes nothing.
class Cleaner final : public Transform {
 public:
  // Adds to `counts`, which outlives it, when it dies.
  Cleaner(const CleanOptions& options, CleanCounts& counts);
  ~Cleaner() override;
  bool run(std::string_view text, Buffer& out) override;

 private:
  bool apply_rules(std::string_view text, Buffer& out);

  const CleanOptions options_;
  CleanCounts& counts_;
  std::array<int64_t, CleanCounts::kRules> own_{};
  bool plain_[256];  // bytes that are copied without a look
  std::optional<Normalizer> normalizer_;
  Buffer ruled_;
};

}  // namespace smolfast::text

// datatrove's simplify_text (0.10.1), the recipe that FineWeb's MinHash compares documents by, in one pass.
#pragma once

#include <iterator>
#include <string_view>
#include <vector>

#include "text/simplify_ascii.h"
#include "text/transform.h"

namespace smolfast::text {

// The options of datatrove's TextNormConfig, applied in its order: lower case; numbers become 0; weekdays WEEKDAY;
// month names MONTH (both English and in lower case); punctuation becomes spaces; white space is collapsed and
// stripped; canonical decomposition without nonspacing marks; and a last strip.
struct SimplifyOptions {
  bool lowercase = true;
  bool norm_numbers = true;
  bool norm_weekdays = false;
  bool norm_monthnames = false;
  bool remove_punctuation = true;
  bool norm_whitespace = true;
  bool norm_unicode_diacritics = true;
};

class Simplifier final : public Transform {
 public:
  explicit Simplifier(const SimplifyOptions& options);
  bool run(std::string_view text, Buffer& out) override;
  // Appends the simplified text.
  void append(std::string_view text, Buffer& out);

 private:
  // What becomes of a character that needs no look at its neighbours. In 8 bytes, so that it's copied by one move.
  struct Direct {
    char bytes[6];
    uint8_t size;
    // kBlank: a space, written if none was before; its 1 takes part in the sum. kNo: look at it closer.
    enum : uint8_t { kYes = 0, kBlank = 1, kNo = 2 } how;
  };
  // What is looked up: all of one and two bytes and, of three, pages of 256 code points: scripts of India, Thai and
  // Lao, Latin letters of Vietnamese, old Greek, punctuation, kana, fullwidth forms. The table begins with a page for
  // the others.
  static constexpr uint32_t kBelowLong = 256, kLong = 0x800;
  static constexpr uint32_t kLongPages[] = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x1E, 0x1F, 0x20, 0x30, 0xFF};

  Direct direct(uint32_t code) const;
  // Characters that need no look at their neighbours, from `at` up to one that does.
  char* append_direct(const char*& at, const char* end, char* to, bool& after_space) const;
  char* append_ascii(const char*& at, const char* stop, const char* end, char* to, bool& after_space) const;
  const char* skip_number(const char* at, const char* end) const;
  // The weekday or month name at `at`: its length and what it becomes; 0 if there is none.
  std::size_t name_at(const char* at, const char* end, const char*& replacement) const;
  std::size_t match(const char* at, const char* end, const char* const* names) const;
  char* put_decomposed(uint32_t code, char* to);
  char* flush_marks(char* to);

  const SimplifyOptions options_;
  uint16_t interesting_;  // the kinds of characters that aren't just copied
  AsciiRules ascii_;
  AsciiSimplifier simplify_ascii_;
  uint16_t long_pages_[256] = {};  // where each page of 256 code points begins in the table
  Direct direct_[kBelowLong + kLong + 256 * std::size(kLongPages)];
  std::vector<uint32_t> marks_;  // kept marks waiting to be put in order, class in the top byte
};

}  // namespace smolfast::text

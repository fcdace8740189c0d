// Unicode normalisation forms (UAX #15) of UTF-8 text.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/byte_loops.h"
#include "text/hangul.h"
#include "text/transform.h"

namespace smolfast::text {

// The numbers are bit positions in NormRecord::flags.
enum class Form : int { kNfc = 0, kNfkc = 1, kNfd = 2, kNfkd = 3 };

// Text is passed over by vector scans until a character that the form may change (a stop). From there one segment at a
// time is handled: the stretch between two characters that nothing can join or be reordered across. Most segments are a
// letter and its marks and are composed or decomposed on the spot; the rest takes the algorithm of the standard
// (Unicode §3.11), linear in its length whatever it holds.
class Normalizer final : public Transform {
 public:
  // With `stream_safe` the text is first put into the Stream-Safe Text Format (text/stream_safe.h).
  explicit Normalizer(Form form, bool stream_safe = false);
  bool run(std::string_view text, Buffer& out) override;
  std::optional<bool> run_unchecked(std::string_view text, Buffer& out) override;
  // Whether the text is in the form; stops at the first change.
  bool is_normalized(std::string_view text);

 private:
  // A code point and, in the top byte, its combining class.
  using Unit = uint32_t;

  enum class Outcome {
    kSame,        // the segment is in the form
    kComposed,    // it becomes composed_, then its bytes from kept_ on
    kDecomposed,  // its one character becomes the bytes at kept_, kept_bytes_ of them
    kOther,       // it becomes segment_
  };

  // The commonest compositions, by tables of their own: a letter of ASCII and a mark or two, a Hangul syllable, kana
  // and a voicing mark. `code` is 0 if it's none of them or what follows may join too.
  struct Joined {
    uint32_t code = 0;
    int base_bytes = 0;  // before the stop
    int mark_bytes = 0;  // from the stop on
  };
  Joined join(const char* segment, const char* stop, const char* end) const;

  template <bool kWrite>
  bool normalize(std::string_view text, Buffer* out);
  // Each handles the segment at `at` and sets next_ to where the next one starts.
  Outcome compose(const char* at, const char* end);
  Outcome decompose(const char* at, const char* end);
  Outcome any(const char* at, const char* end);
  void append_decomposed(uint32_t code);
  void sort_marks();
  void compose_units();

  bool is_attention(const NormRecord& r) const { return ((r.flags >> (kAttentionShift + form_)) & 1) != 0; }
  bool starts_segment(const NormRecord& r) const { return ((r.flags >> (kStartsSegmentShift + form_)) & 1) != 0; }
  int decomposition_bytes(const NormRecord& r) const {
    return compatibility_ ? r.compatibility_bytes : r.canonical_bytes;
  }
  const char* decomposition(const NormRecord& r) const {
    return reinterpret_cast<const char*>(kDecompositions) + (compatibility_ ? r.compatibility : r.canonical);
  }

  const int form_;
  const bool stream_safe_;
  const bool compatibility_;
  const bool composing_;
  const ScanTables& tables_;
  const ScanKernels& kernels_;
  const HangulComposer compose_hangul_;
  // What the last segment became.
  const char* next_ = nullptr;
  uint32_t composed_ = 0;
  const char* kept_ = nullptr;
  int kept_bytes_ = 0;
  char hangul_[64];  // copied in whole vectors
  Buffer segment_;
  Buffer safe_;
  std::vector<Unit> units_;
  std::vector<Unit> sorted_;
};

}  // namespace smolfast::text

// clean: the same text and counts under every implementation, counts where something changed, and nothing left to do.
#include "text/clean.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;

struct Cleaned {
  std::string text;
  std::array<int64_t, text::CleanCounts::kRules> counts;
  bool operator==(const Cleaned&) const = default;
};

Cleaned clean(const text::CleanOptions& options, const std::string& input) {
  return fuzz::under_every_implementation([&] {
    text::CleanCounts counts;
    Cleaned cleaned{input, {}};
    text::Buffer out;
    if (text::Cleaner(options, counts).run(input, out)) cleaned.text = out.view();
    for (std::size_t i = 0; i < cleaned.counts.size(); ++i) cleaned.counts[i] = counts.counts[i].load();
    return cleaned;
  });
}

}  // namespace

// The first byte turns rules off, the second says how many blank lines may stay and the form.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto on = [data](int bit) { return (data[0] >> bit & 1) == 0; };
  text::CleanOptions options{on(0), on(1), on(2), on(3), on(4), 1 - (data[1] & 3), text::Form::kNfc};
  if ((data[1] & 4) != 0) options.form = (data[1] & 8) != 0 ? std::optional(text::Form::kNfkd) : std::nullopt;
  const std::string input = fuzz::repaired(data + 2, size - 2);
  const Cleaned once = clean(options, input);
  const bool counted = once.counts != std::array<int64_t, text::CleanCounts::kRules>{};
  fuzz::check(counted == (once.text != input), "counts say whether something changed");
  // The compatibility forms make spaces of other characters.
  if (options.form != text::Form::kNfkd) fuzz::check(clean(options, once.text).text == once.text, "cleaned twice");
  return 0;
}

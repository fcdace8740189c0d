// Training of tokenizers: words follow each other without a gap, tokens are what their pairs make and no longer than
// they may be, and merges don't depend on the order of the words. Then the text is encoded by them, as a plain
// reference does.
#include <algorithm>
#include <climits>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bpe/encoder.h"
#include "bpe/merges.h"
#include "bpe/pre_tokens.h"
#include "bpe/word_counts.h"
#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;

std::vector<std::string_view> cut(std::string_view text, int longest_word) {
  const char* const end = text.data() + text.size();
  std::vector<std::string_view> words;
  bpe::WordCutter<bpe::Pattern::kLlama3> cutter(end);
  for (const char* at = text.data(); at != end;) {
    const char* const past = cutter.next(at);
    fuzz::check(at < past && past <= end, "a word is empty, or goes beyond the text");
    for (const char* part; at != past; at = part) {
      part = bpe::part_end(at, past, longest_word);
      fuzz::check(at < part && part <= past, "a part is empty, or goes beyond its word");
      fuzz::check(!text::is_continuation(*at), "a word begins inside a character");
      words.emplace_back(at, static_cast<std::size_t>(part - at));
    }
  }
  return words;
}

using Ranks = std::map<std::pair<uint32_t, uint32_t>, std::size_t>;

// A word's ids: the first merge of those that its pairs have, where it stands first, until there is none.
std::vector<uint32_t> joined(std::string_view word, const bpe::EncoderOptions& options, const Ranks& ranks) {
  std::vector<uint32_t> ids;
  for (const char byte : word) ids.push_back(options.bytes[static_cast<uint8_t>(byte)]);
  while (true) {
    std::size_t least = options.merges.size();
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find({ids[i], ids[i + 1]});
      if (found == ranks.end() || found->second >= least) continue;
      least = found->second;
      at = i;
    }
    if (least == options.merges.size()) return ids;
    ids[at] = options.merges[least].made;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

void check_encoding(std::string_view text, const bpe::EncoderOptions& options) {
  Ranks ranks;  // of a pair that comes twice the last place
  for (std::size_t i = 0; i < options.merges.size(); ++i)
    ranks[{options.merges[i].first, options.merges[i].second}] = i;
  std::vector<uint32_t> expected;
  for (const std::string_view word : cut(text, INT_MAX)) {
    const std::vector<uint32_t> ids = joined(word, options, ranks);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  bpe::Encoder encoder(options);
  // Twice, so that what is remembered is read.
  const std::vector<std::string_view> twice{text, text};  // a column looks at these
  const std::vector<arrow::StringColumn> rows{arrow::StringColumn(twice)};
  const auto encoded = [&] {
    const bpe::EncodedRows found = encoder.encode(rows, true, 1);
    fuzz::check(found.ends.size() == 2 && (found.left.empty() || found.size() == 0), "rows that were left have ids");
    return found.left.empty() ? std::vector<uint32_t>(found.ids.get(), found.ids.get() + found.size()) : expected;
  };
  std::vector<uint32_t> ids = fuzz::under_every_implementation(encoded);
  if (ids == expected) return;  // left
  const std::vector<uint32_t> once = expected;
  expected.insert(expected.end(), once.begin(), once.end());
  fuzz::check(ids == expected, "ids differ from those of a plain reference");
}

}  // namespace

// The first byte says how long words and tokens may be.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int longest_word = 1 + (data[0] & 15);
  const std::size_t longest_token = 4 + (data[0] >> 4);
  const std::string repaired = fuzz::repaired(data + 1, size - 1);
  const std::vector<char> exact(repaired.begin(), repaired.end());  // no byte of room around it
  const std::vector<std::string_view> words = cut({exact.data(), exact.size()}, longest_word);
  bpe::WordCounts forwards;
  bpe::WordCounts backwards;
  for (std::size_t i = 0; i < words.size(); ++i) {
    forwards.add(words[i], 1);
    backwards.add(words[words.size() - 1 - i], 1);
  }
  const bpe::MergeOptions options{300, 2, longest_token};
  const auto merges = bpe::learn_merges(forwards, options);
  fuzz::check(bpe::learn_merges(backwards, options) == merges, "the order of words");
  std::vector<std::string> tokens;
  for (const uint8_t byte : bpe::byte_order()) tokens.emplace_back(1, static_cast<char>(byte));
  bpe::EncoderOptions encoding{bpe::Pattern::kLlama3, {}, {}, {}, {}};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    encoding.bytes[static_cast<uint8_t>(tokens[i][0])] = static_cast<uint32_t>(i);
  }
  for (const auto& [first, second] : merges) {
    fuzz::check(first < tokens.size() && second < tokens.size(), "a pair of tokens that aren't there yet");
    const std::string merged = tokens[first] + tokens[second];
    fuzz::check(merged.size() <= longest_token, "a token is too long");
    fuzz::check(repaired.find(merged) != std::string::npos, "a token that no text has");
    const auto known = std::find(tokens.begin(), tokens.end(), merged);
    encoding.merges.push_back({first, second, static_cast<uint32_t>(known - tokens.begin())});
    if (known == tokens.end()) tokens.push_back(merged);
  }
  fuzz::check(tokens.size() <= options.tokens, "too many tokens");
  check_encoding({exact.data(), exact.size()}, encoding);
  return 0;
}

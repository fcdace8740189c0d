// Model files with bytes changed, and texts: an Error or an answer, never more; the same under every implementation,
// and the same again from a warm cache.
//
// The first byte chooses a small sound model; the second says how many changes follow, each of two bytes of place and
// one of value (a change to the last place cuts the file there); the rest is the text.
#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "fasttext/classifier.h"
#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;
using namespace smolfast::fasttext;

class Writer {
 public:
  template <typename Number>
  Writer& put(Number number) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
  }
  Writer& numbers(int64_t count) {
    for (int64_t i = 0; i < count; ++i) put(static_cast<float>((i * 37 + 11) % 64 - 31) / 16);
    return *this;
  }
  Writer& codes(int64_t count) {
    for (int64_t i = 0; i < count; ++i) put(static_cast<uint8_t>(i * 89));
    return *this;
  }
  Writer& matrix(bool quantised, bool norms, int64_t rows, int64_t cols) {
    put(quantised);
    if (!quantised) return put(rows).put(cols).numbers(rows * cols);
    const int64_t parts = (cols + 1) / 2;
    put(norms).put(rows).put(cols).put(static_cast<int32_t>(rows * parts)).codes(rows * parts);
    put(static_cast<int32_t>(cols)).put(static_cast<int32_t>(parts)).put(int32_t{2});
    put(static_cast<int32_t>(cols % 2 == 0 ? 2 : 1)).numbers(256 * cols);
    if (norms) codes(rows).put(int32_t{1}).put(int32_t{1}).put(int32_t{1}).put(int32_t{1}).numbers(256);
    return *this;
  }
  std::string bytes;
};

std::string sound_model(uint8_t kind) {
  const int32_t loss = 1 + kind % 4;
  const bool quantised = (kind & 4) != 0;
  const bool pruned = quantised && (kind & 8) != 0;
  const bool norms = (kind & 16) != 0;
  const int32_t maxn = (kind & 32) != 0 ? 3 : 0;
  const int32_t word_ngrams = (kind & 64) != 0 ? 2 : 1;
  const int32_t bucket = maxn != 0 || word_ngrams > 1 ? 13 : 0;
  const int32_t dim = 5;
  const std::vector<std::string> words{"</s>", "a", "the", "é", "of"};
  const std::vector<std::string> labels{"__label__x", "__label__y", "z"};
  const auto n_words = static_cast<int32_t>(words.size());
  const auto n_labels = static_cast<int32_t>(labels.size());
  Writer file;
  file.put(int32_t{793712314}).put(int32_t{12});
  for (const int32_t value : {dim, 5, 5, 1, 5, word_ngrams, loss, (kind & 128) != 0 ? 2 : 3, bucket, 1, maxn, 100}) {
    file.put(value);
  }
  file.put(1e-4).put(n_words + n_labels).put(n_words).put(n_labels).put(int64_t{100}).put(int64_t{pruned ? 2 : -1});
  const auto entry = [&](const std::string& word, int64_t count, int8_t of_kind) {
    file.bytes += word + '\0';
    file.put(count).put(of_kind);
  };
  for (int32_t i = 0; i < n_words; ++i) entry(words[static_cast<std::size_t>(i)], 50 - i, 0);
  for (int32_t i = 0; i < n_labels; ++i) entry(labels[static_cast<std::size_t>(i)], 9 - i, 1);
  if (pruned) file.put(int32_t{3}).put(int32_t{0}).put(int32_t{7}).put(int32_t{1});
  file.matrix(quantised, norms, n_words + (pruned ? 2 : bucket), dim);
  file.matrix(quantised && norms, norms, n_labels, dim);
  return file.bytes;
}

// All that a model says of a text; an error's message where it says nothing.
using Answer = std::tuple<std::vector<int32_t>, std::vector<float>, std::string>;

Answer answer(const std::string& file, std::string_view text) {
  Answer found;
  auto& [labels, numbers, error] = found;
  try {
    const Classifier classifier(Model(file, "model"), 1024);  // words have to make room for others
    const int32_t all = classifier.model().labels();
    for (int time = 0; time < 2; ++time) {
      auto work = classifier.take_workspace();
      std::vector<float> vector(static_cast<std::size_t>(classifier.model().settings.dim));
      classifier.embed(*work, text, vector.data());
      numbers.insert(numbers.end(), vector.begin(), vector.end());
      if (classifier.model().supervised()) {
        std::vector<Prediction> predictions;
        for (const int32_t k : {1, 2, Classifier::kAll}) classifier.predict(*work, text, k, 0.01f, predictions);
        for (const Prediction& one : predictions) {
          labels.push_back(one.label);
          numbers.push_back(one.score);
          fuzz::check(one.label >= 0 && one.label < all, "a label that isn't there");
        }
        const std::vector<int32_t> asked{0, all - 1};
        std::vector<float> scores(asked.size());
        classifier.scores(*work, text, asked, scores.data());
        numbers.insert(numbers.end(), scores.begin(), scores.end());
      }
      classifier.give_back(std::move(work));
    }
    const std::size_t half = numbers.size() / 2;
    fuzz::check(std::memcmp(numbers.data(), numbers.data() + half, half * sizeof(float)) == 0, "a warm cache");
  } catch (const Error& caught) {
    error = caught.what();
    fuzz::check(error.find('\n') == std::string::npos, "an error of several lines");
  }
  // Numbers that are none are equal here.
  for (float& number : numbers) number = number != number ? -12345.0f : number;
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string file = sound_model(data[0]);
  const std::size_t changes = std::min<std::size_t>(data[1] % 8, (size - 2) / 3);
  for (std::size_t i = 0; i < changes; ++i) {
    const uint8_t* const change = data + 2 + 3 * i;
    // Half of the changes go to the head, where the sizes stand.
    std::size_t place = static_cast<std::size_t>(change[0]) | static_cast<std::size_t>(change[1]) << 8;
    place %= (change[1] & 1) != 0 ? std::min<std::size_t>(file.size(), 100) : file.size();
    if (change[2] == 0x7E && place > 8) {
      file.resize(place);
    } else {
      file[place] = static_cast<char>(change[2]);
    }
  }
  // Millions of buckets would be tables of zeros, which take all the time and find nothing.
  constexpr std::size_t kBucket = 40;
  int32_t bucket = 0;
  if (file.size() >= kBucket + 4) std::memcpy(&bucket, file.data() + kBucket, 4);
  if (bucket >= 1 << 16 && bucket <= 1 << 28) file[kBucket + 3] = file[kBucket + 2] = '\0';
  const std::string text = fuzz::repaired(data + 2 + 3 * changes, size - 2 - 3 * changes);
  fuzz::under_every_implementation([&] { return answer(file, text); });
  return 0;
}

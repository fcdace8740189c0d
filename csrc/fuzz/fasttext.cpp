// Model files with bytes changed, and texts: an Error or an answer, never more; the same under every implementation,
// and the same again from a warm cache.
//
// The first byte and the last choose a small sound model; the second says how many changes follow, each of two bytes
// that choose a place and one that says what happens there; the rest is the text. All ask the model that is read once.
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
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

// A sound model, made once.
const std::string& sound(uint8_t kind) {
  static std::string made[256];
  if (made[kind].empty()) made[kind] = sound_model(kind);
  return made[kind];
}

// What a damaged file may hold in place of any number.
constexpr uint32_t kOdd[] = {0,          1,          0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FC00000,
                             0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x00000001, 0x00010000, 0x40000000};

void change(std::string& file, const uint8_t* how) {
  // Half of the changes go to the head, where the sizes stand.
  const uint32_t place = static_cast<uint32_t>(how[0] | how[1] << 8) * 0x9E3779B1u >> 8;
  const std::size_t at = place % ((how[1] & 1) != 0 ? std::min<std::size_t>(file.size(), 100) : file.size());
  auto byte = static_cast<uint8_t>(file[at]);
  const unsigned more = how[2] / 8u;
  switch (how[2] % 8) {
    case 0:
      byte = 0;
      break;
    case 1:
      byte = 0xFF;
      break;
    case 2:
      byte ^= static_cast<uint8_t>(1u << more % 8);
      break;
    case 3:
      ++byte;
      break;
    case 4:
      --byte;
      break;
    case 5:
      byte = how[0];
      break;
    case 6: {
      const uint32_t odd = kOdd[more % std::size(kOdd)];
      std::memcpy(file.data() + at, &odd, std::min<std::size_t>(sizeof odd, file.size() - at));
      return;
    }
    default:
      if (at > 8) file.resize(at);
      return;
  }
  file[at] = static_cast<char>(byte);
}

// The bytes alone, so that AddressSanitizer sees reads beyond them.
class Exact {
 public:
  explicit Exact(std::string_view bytes) : size_(bytes.size()), bytes_(new char[bytes.size()]) {
    std::copy(bytes.begin(), bytes.end(), bytes_.get());
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<char[]> bytes_;
};

void check_message(const Error& caught) {
  fuzz::check(std::string_view(caught.what()).find('\n') == std::string_view::npos, "an error of several lines");
}

// All that a model says of a text; an error's message where it says nothing.
using Answer = std::tuple<std::vector<int32_t>, std::vector<float>, std::string>;

Answer answer(const Classifier& classifier, std::string_view text) {
  Answer found;
  auto& [labels, numbers, error] = found;
  const int32_t all = classifier.model().labels();
  try {
    Classifier::Workspace work(classifier.model(), 1024);  // words have to make room for others
    std::vector<float> vector(static_cast<std::size_t>(classifier.model().settings.dim));
    for (int time = 0; time < 2; ++time) {
      classifier.embed(work, text, vector.data());
      numbers.insert(numbers.end(), vector.begin(), vector.end());
      if (!classifier.model().supervised()) continue;
      std::vector<Prediction> predictions;
      for (const int32_t k : {1, 2, Classifier::kAll}) classifier.predict(work, text, k, 0.01f, predictions);
      for (const Prediction& one : predictions) {
        labels.push_back(one.label);
        numbers.push_back(one.score);
        fuzz::check(one.label >= 0 && one.label < all, "a label that isn't there");
      }
      const int32_t asked[] = {0, all - 1};
      float scores[2];
      classifier.scores(work, text, asked, scores);
      numbers.insert(numbers.end(), std::begin(scores), std::end(scores));
    }
    const std::size_t half = numbers.size() / 2;
    fuzz::check(std::memcmp(numbers.data(), numbers.data() + half, half * sizeof(float)) == 0, "a warm cache");
  } catch (const Error& caught) {
    error = caught.what();
    check_message(caught);
  }
  // Numbers that are none are equal here.
  for (float& number : numbers) number = number != number ? -12345.0f : number;
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string changed = sound(data[0] ^ data[size - 1]);
  const std::size_t changes = std::min<std::size_t>(data[1] % 8, (size - 2) / 3);
  for (std::size_t i = 0; i < changes; ++i) change(changed, data + 2 + 3 * i);
  // Millions of buckets would be tables of zeros, which take all the time and find nothing.
  constexpr std::size_t kBucket = 40;
  int32_t bucket = 0;
  if (changed.size() >= kBucket + 4) std::memcpy(&bucket, changed.data() + kBucket, 4);
  if (bucket >= 1 << 16 && bucket <= 1 << 28) changed[kBucket + 3] = changed[kBucket + 2] = '\0';
  const Exact file(changed);
  std::optional<Classifier> classifier;
  try {
    classifier.emplace(Model(file.view(), "model"));
  } catch (const Error& caught) {
    check_message(caught);
    return 0;
  }
  const Exact text(fuzz::repaired(data + 2 + 3 * changes, size - 2 - 3 * changes));
  fuzz::under_every_implementation([&] { return answer(*classifier, text.view()); });
  return 0;
}

#include "fasttext/features.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/prefetch.h"

namespace smolfast::fasttext {
namespace {

bool continues(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

}  // namespace

Features::Features(const Model& model, std::size_t cache_bytes)
    : model_(model),
      kernels_(&kernels()),
      bucket_(static_cast<uint32_t>(std::max(1, model.settings.bucket))),
      cache_(model.input.cols(), cache_bytes),
      by_character_(model.settings.minn, model.settings.maxn, bucket_.divisor()),
      subword_buckets_(subword_buckets()),
      cols_(static_cast<std::size_t>(model.input.cols())),
      sum_(aligned_floats(cols_)),
      word_sum_(cols_),
      row_(cols_) {}

// Calls word(text) for each until it says false.
template <typename Word>
void Features::for_each_word(std::string_view text, const Word& word) {
  const char* const data = text.data();
  char copy[64];
  uint64_t before = 1;  // whether a separator came before
  std::size_t begin = 0;
  bool inside = false;
  for (std::size_t base = 0; base < text.size(); base += 64) {
    const char* block = data + base;
    if (text.size() - base < 64) {
      std::memset(copy, ' ', sizeof copy);
      std::memcpy(copy, block, text.size() - base);
      block = copy;
    }
    const uint64_t separators = kernels_->separators(block);
    uint64_t edges = separators ^ (separators << 1 | before);
    before = separators >> 63;
    if (inside && edges != 0) {
      const std::size_t end = base + static_cast<std::size_t>(std::countr_zero(edges));
      edges &= edges - 1;
      inside = false;
      if (!word(text.substr(begin, end - begin))) return;
    }
    while (edges != 0) {
      begin = base + static_cast<std::size_t>(std::countr_zero(edges));
      edges &= edges - 1;
      if (edges == 0) {
        inside = true;
        break;
      }
      const std::size_t end = base + static_cast<std::size_t>(std::countr_zero(edges));
      edges &= edges - 1;
      if (!word(text.substr(begin, end - begin))) return;
    }
  }
  if (inside) word(text.substr(begin));
}

// Appends the rows of the first `count` of buckets_.
void Features::push_buckets(std::size_t count, std::vector<int32_t>& rows) {
  const Vocabulary& vocabulary = model_.vocabulary;
  const std::size_t before = rows.size();
  if (!vocabulary.pruned()) {
    rows.resize(before + count);
    for (std::size_t i = 0; i < count; ++i) rows[before + i] = vocabulary.words() + static_cast<int32_t>(buckets_[i]);
    return;
  }
  rows.resize(before + count);
  rows.resize(before + vocabulary.kept().rows_of(buckets_.data(), count, vocabulary.words(), rows.data() + before));
}

// Rows of fp32 are far apart in large files: they are asked for before the first is added.
void Features::prefetch_rows(const std::vector<int32_t>& rows, std::size_t from) const {
  if (model_.input.quantised()) return;
  for (std::size_t i = from; i < rows.size(); ++i) model_.input.prefetch_row(rows[i]);
}

// In an order of ours: sixteen beginnings at once, and of these the shortest n-grams first.
void Features::push_subwords(std::string_view word, std::vector<int32_t>& rows) {
  if (!by_character_.set(word)) return push_subwords_in_order(word, rows);
  buckets_.resize((static_cast<std::size_t>(model_.settings.maxn) + 1) * Marked::kAtOnce);
  for (int32_t begin = 0; begin < by_character_.size; begin += Marked::kAtOnce) {
    push_buckets(subword_buckets_(by_character_, begin, buckets_.data()), rows);
  }
}

// An n-gram's hash grows character by character: from each beginning all lengths in one pass.
void Features::push_subwords_in_order(std::string_view word, std::vector<int32_t>& rows) {
  constexpr std::size_t kAtOnce = 64;  // beginnings
  const int32_t least = model_.settings.minn;
  const int32_t most = model_.settings.maxn;
  marked_.clear();
  marked_ += '<';
  marked_ += word;
  marked_ += '>';
  const std::size_t size = marked_.size();
  const char* const at = marked_.data();
  buckets_.resize(kAtOnce * static_cast<std::size_t>(most));
  uint32_t* const buckets = buckets_.data();
  const Modulo modulo = bucket_;
  for (std::size_t first = 0; first < size; first += kAtOnce) {
    std::size_t count = 0;
    for (std::size_t begin = first; begin < std::min(size, first + kAtOnce); ++begin) {
      if (continues(at[begin])) continue;
      uint32_t hash = kHashStart;
      std::size_t end = begin;
      for (int32_t n = 1; n <= most && end < size; ++n) {
        hash = hash_on(hash, at[end++]);
        while (end < size && continues(at[end])) hash = hash_on(hash, at[end++]);
        if (n >= least && !(n == 1 && (begin == 0 || end == size))) buckets[count++] = modulo(hash);
      }
    }
    push_buckets(count, rows);
  }
}

// Appends a word's rows.
WordFacts Features::rows_of_word(std::string_view word, bool in_order, std::vector<int32_t>& rows) {
  const std::size_t before = rows.size();
  WordFacts facts{hash_of(word), 0, word == kEndOfLine ? WordKind::kEnd : WordKind::kPlain};
  const int32_t id = model_.vocabulary.find(word, facts.hash);
  const bool is_label = id == Vocabulary::kAbsent ? word.starts_with(kLabelPrefix) : id >= model_.vocabulary.words();
  if (is_label && model_.supervised()) {
    facts.kind = WordKind::kLabel;
    return facts;
  }
  if (id != Vocabulary::kAbsent && !is_label) {
    rows.push_back(id);
  }
  if (model_.settings.maxn > 0 && facts.kind != WordKind::kEnd) {
    if (in_order) {
      push_subwords_in_order(word, rows);
    } else {
      push_subwords(word, rows);
    }
  }
  prefetch_rows(rows, before);
  facts.rows = static_cast<int32_t>(rows.size() - before);
  return facts;
}

void Features::add_rows(float* sum) {
  model_.input.add_rows(*kernels_, rows_.data(), rows_.size(), sum, row_.data());
}

WordFacts Features::sum_word(std::string_view word, float* sum) {
  rows_.clear();
  const WordFacts facts = rows_of_word(word, false, rows_);
  std::fill_n(sum, cols_, 0.0f);
  add_rows(sum);
  return facts;
}

// The n-grams of words that begin with word `from`.
void Features::push_word_ngrams(std::size_t from, std::vector<int32_t>& rows) {
  auto hash = static_cast<uint64_t>(int64_t{hashes_[from]});
  const std::size_t end = std::min(hashes_.size(), from + static_cast<std::size_t>(model_.settings.word_ngrams));
  buckets_.resize(end - from);
  std::size_t count = 0;
  for (std::size_t i = from + 1; i < end; ++i) {
    hash = hash_on_word(hash, hashes_[i]);
    buckets_[count++] = static_cast<uint32_t>(hash % bucket_.divisor());
  }
  const std::size_t before = rows.size();
  push_buckets(count, rows);
  prefetch_rows(rows, before);
}

int64_t Features::add_up(std::string_view text) {
  kernels_ = &kernels();
  subword_buckets_ = subword_buckets();
  const bool word_ngrams = model_.settings.word_ngrams > 1;
  const char* const text_end = text.data() + text.size();
  int64_t rows = 0;
  bool ended = false;
  hashes_.clear();
  std::fill_n(sum_.get(), cols_, 0.0f);
  const auto add = [&](const WordFacts& facts, const float* sum) {
    if (facts.kind == WordKind::kLabel) return true;
    kernels_->add(sum_.get(), reinterpret_cast<const char*>(sum), cols_);
    rows += facts.rows;
    if (word_ngrams) hashes_.push_back(static_cast<int32_t>(facts.hash));
    ended = facts.kind == WordKind::kEnd;
    return !ended;
  };
  // Words wait here while the cache's memory for them is on its way.
  struct Waiting {
    std::string_view word;
    WordCache::Key key;
    uint64_t hash;
  };
  // Which words came, by ten bits of their hashes.
  uint64_t seen[16] = {};
  int64_t words = 0;
  constexpr std::size_t kMostWaiting = 16;
  Waiting waiting[kMostWaiting];
  std::size_t count = 0;
  const auto finish = [&] {
    for (std::size_t i = 0; i < count; ++i) {
      const Waiting& next = waiting[i];
      bool more;
      if (next.word.size() > WordCache::kLongestWord) {
        const WordFacts facts = sum_word(next.word, word_sum_.data());
        more = add(facts, word_sum_.data());
      } else {
        bool found;
        WordCache::Entry& entry = cache_.find(next.key, next.hash, found);
        if (!found) entry.facts = sum_word(next.word, cache_.sum(entry));
        more = add(entry.facts, cache_.sum(entry));
      }
      if (!more) return false;
    }
    count = 0;
    return true;
  };
  const auto take = [&](std::string_view word, const char* readable) {
    Waiting& next = waiting[count++];
    next.word = word;
    if (word.size() <= WordCache::kLongestWord) {
      next.key = WordCache::key_of(word, readable);
      next.hash = WordCache::hash_of(next.key);
      cache_.prefetch_entry(next.hash);
      seen[next.hash >> 60] |= uint64_t{1} << (next.hash >> 54 & 63);
      ++words;
    }
    return count < kMostWaiting || finish();
  };
  for_each_word(text, [&](std::string_view word) { return take(word, text_end); });
  if (!ended && take(kEndOfLine, kEndOfLine.data() + kEndOfLine.size())) finish();
  if (words >= 128) {
    int64_t distinct = 0;
    for (const uint64_t bits : seen) distinct += std::popcount(bits);
    repetitive_ = distinct < 256 && words > 8 * distinct;
  } else {
    repetitive_ = false;
  }
  if (word_ngrams) {
    constexpr std::size_t kAtOnce = 256;  // so many rows are asked for before the first is needed
    rows_.clear();
    for (std::size_t i = 0; i < hashes_.size(); ++i) {
      push_word_ngrams(i, rows_);
      if (rows_.size() < kAtOnce && i + 1 < hashes_.size()) continue;
      add_rows(sum_.get());
      rows += static_cast<int64_t>(rows_.size());
      rows_.clear();
    }
  }
  return rows;
}

// Appends a text's rows word by word, and calls taken() after each, which may take them away.
template <typename Taken>
void Features::rows_in_order(std::string_view text, std::vector<int32_t>& rows, const Taken& taken) {
  hashes_.clear();
  bool ended = false;
  const auto take = [&](std::string_view word) {
    const WordFacts facts = rows_of_word(word, true, rows);
    taken();
    if (facts.kind == WordKind::kLabel) return true;
    hashes_.push_back(static_cast<int32_t>(facts.hash));
    ended = facts.kind == WordKind::kEnd;
    return !ended;
  };
  for_each_word(text, take);
  if (!ended) take(kEndOfLine);
  if (model_.settings.word_ngrams < 2) return;
  for (std::size_t i = 0; i < hashes_.size(); ++i) {
    push_word_ngrams(i, rows);
    taken();
  }
}

void Features::rows_of(std::string_view text, std::vector<int32_t>& rows) {
  rows_in_order(text, rows, [] {});
}

void Features::phrase_vector(std::string_view phrase, float* out) {
  kernels_ = &kernels();
  subword_buckets_ = subword_buckets();
  rows_.clear();
  hashes_.clear();
  for_each_token(phrase, [&](std::string_view word) {
    hashes_.push_back(static_cast<int32_t>(rows_of_word(word, true, rows_).hash));
    return true;
  });
  if (hashes_.size() > 1) {
    rows_.clear();
    push_word_ngrams(0, rows_);  // of all lengths; the longest is last
    const bool has_row = rows_.size() + 1 == hashes_.size();
    rows_.erase(rows_.begin(), has_row ? rows_.end() - 1 : rows_.end());
  }
  std::fill_n(out, cols_, 0.0f);
  if (rows_.empty()) return;
  add_rows(out);
  for (std::size_t i = 0; i < cols_; ++i) out[i] *= static_cast<float>(1.0 / static_cast<double>(rows_.size()));
}

int64_t Features::add_up_in_order(std::string_view text) {
  kernels_ = &kernels();
  subword_buckets_ = subword_buckets();
  constexpr std::size_t kAtOnce = 4096;  // a long text has millions, which would stay in memory
  rows_.clear();
  std::fill_n(sum_.get(), cols_, 0.0f);
  int64_t rows = 0;
  const auto take = [&] {
    add_rows(sum_.get());
    rows += static_cast<int64_t>(rows_.size());
    rows_.clear();
  };
  rows_in_order(text, rows_, [&] {
    if (rows_.size() >= kAtOnce) take();
  });
  take();
  return rows;
}

void Features::average_words(std::string_view text) {
  kernels_ = &kernels();
  subword_buckets_ = subword_buckets();
  std::fill_n(sum_.get(), cols_, 0.0f);
  int64_t count = 0;
  for_each_word(text, [&](std::string_view word) {
    const WordFacts facts = sum_word(word, word_sum_.data());
    if (facts.rows == 0) return true;
    const auto share = static_cast<float>(1.0 / facts.rows);
    float squares = 0;
    for (float& value : word_sum_) {
      value *= share;
      const float square = value * value;
      squares += square;
    }
    const float norm = std::sqrt(squares);
    if (!(norm > 0)) return true;
    kernels_->add_scaled(sum_.get(), word_sum_.data(), static_cast<float>(1.0 / norm), cols_);
    ++count;
    return true;
  });
  if (count == 0) return;
  for (std::size_t i = 0; i < cols_; ++i) sum_.get()[i] *= static_cast<float>(1.0 / static_cast<double>(count));
}

}  // namespace smolfast::fasttext

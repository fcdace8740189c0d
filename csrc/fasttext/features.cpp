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
      new_words_(model),
      cols_(static_cast<std::size_t>(model.input.cols())),
      sum_(aligned_floats(cols_)),
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
  const std::size_t kept = vocabulary.kept().keep(buckets_.data(), count);
  rows.resize(before + kept);
  vocabulary.kept().rows_of_kept(buckets_.data(), kept, vocabulary.words(), rows.data() + before);
}

// Rows of fp32 are far apart in large files: they are asked for before the first is added.
void Features::prefetch_rows(const std::vector<int32_t>& rows, std::size_t from) const {
  if (model_.input.quantised()) return;
  for (std::size_t i = from; i < rows.size(); ++i) model_.input.prefetch_row(rows[i]);
}

// An n-gram's hash grows character by character: from each beginning all lengths in one pass.
void Features::push_subwords(std::string_view word, std::vector<int32_t>& rows) {
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

// Appends a word's rows in fastText's order.
WordFacts Features::rows_of_word(std::string_view word, std::vector<int32_t>& rows) {
  const std::size_t before = rows.size();
  auto [facts, row] = known_word(model_, word, hash_of(word));
  if (facts.kind == WordKind::kLabel) return facts;
  if (row != Vocabulary::kAbsent) rows.push_back(row);
  if (model_.settings.maxn > 0 && facts.kind != WordKind::kEnd) push_subwords(word, rows);
  prefetch_rows(rows, before);
  facts.rows = static_cast<int32_t>(rows.size() - before);
  return facts;
}

void Features::add_rows(float* sum) {
  model_.input.add_rows(*kernels_, rows_.data(), rows_.size(), sum, row_.data());
}

// Finds the facts and sums of new_words_.
void Features::sum_new_words() {
  new_words_.sum_all(*kernels_);
  for (std::size_t i = 0; i < new_words_.size(); ++i) {
    NewWords::Word& word = new_words_[i];
    if (word.done) continue;
    rows_.clear();
    word.facts = rows_of_word(word.text, rows_);
    std::fill_n(word.sum, cols_, 0.0f);
    add_rows(word.sum);
  }
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

// Finds the waiting words in the cache, and makes the sums of the others.
void Features::look_up() {
  new_words_.clear();
  for (std::size_t i = 0; i < waiting_count_; ++i) {
    Waiting& next = waiting_[i];
    const bool is_short = next.word.size() <= WordCache::kLongestWord;
    next.entry = is_short ? cache_.find(next.key, next.hash, next.place) : nullptr;
    if (next.entry == nullptr) next.number = new_words_.push(next.word);
  }
  sum_new_words();
}

// Lets the cache remember what it didn't have; none waits any more.
void Features::remember() {
  for (std::size_t i = 0; i < waiting_count_; ++i) {
    const Waiting& next = waiting_[i];
    if (next.entry != nullptr || next.word.size() > WordCache::kLongestWord) continue;
    const NewWords::Word& word = new_words_[next.number];
    cache_.keep(next.key, next.hash, word.facts, word.sum);
  }
  waiting_count_ = 0;
}

int64_t Features::add_up(std::string_view text) {
  kernels_ = &kernels();
  const bool word_ngrams = model_.settings.word_ngrams > 1;
  const char* const text_end = text.data() + text.size();
  int64_t rows = 0;
  bool ended = false;
  waiting_count_ = 0;
  hashes_.clear();
  std::fill_n(sum_.get(), cols_, 0.0f);
  // Which words came, by ten bits of their hashes.
  uint64_t seen[16] = {};
  int64_t words = 0;
  // A word's set is asked for when it comes, its entry so many words later.
  constexpr std::size_t kBetween = 8;
  std::size_t placed = 0;
  const auto place = [&](Waiting& next) {
    if (next.word.size() <= WordCache::kLongestWord) next.place = cache_.prefetch_place(next.hash);
  };
  const auto finish = [&] {
    for (; placed < waiting_count_; ++placed) place(waiting_[placed]);
    placed = 0;
    const float* sums[kAtOnce];
    std::size_t count = 0;
    look_up();
    for (std::size_t i = 0; i < waiting_count_ && !ended; ++i) {
      const Waiting& next = waiting_[i];
      const NewWords::Word* const made = next.entry == nullptr ? &new_words_[next.number] : nullptr;
      const WordFacts& facts = made != nullptr ? made->facts : next.entry->facts;
      if (facts.kind == WordKind::kLabel) continue;
      sums[count++] = made != nullptr ? made->sum : WordCache::sum(*next.entry);
      rows += facts.rows;
      if (word_ngrams) hashes_.push_back(static_cast<int32_t>(facts.hash));
      ended = facts.kind == WordKind::kEnd;
    }
    kernels_->add_all(sum_.get(), sums, count, cols_);
    remember();
    return !ended;
  };
  const auto take = [&](std::string_view word, const char* readable) {
    Waiting& next = waiting_[waiting_count_++];
    next.word = word;
    if (word.size() <= WordCache::kLongestWord) {
      next.key = WordCache::key_of(word, readable);
      next.hash = WordCache::hash_of(next.key);
      cache_.prefetch_set(next.hash);
      seen[next.hash >> 60] |= uint64_t{1} << (next.hash >> 54 & 63);
      ++words;
    }
    if (waiting_count_ - placed > kBetween) place(waiting_[placed++]);
    return waiting_count_ < kAtOnce || finish();
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
    const WordFacts facts = rows_of_word(word, rows);
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
  rows_.clear();
  hashes_.clear();
  for_each_token(phrase, [&](std::string_view word) {
    hashes_.push_back(static_cast<int32_t>(rows_of_word(word, rows_).hash));
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
  std::fill_n(sum_.get(), cols_, 0.0f);
  int64_t count = 0;
  for_each_word(text, [&](std::string_view word) {
    new_words_.clear();
    const std::size_t number = new_words_.push(word);
    sum_new_words();
    const auto [text_of, facts, sum, done] = new_words_[number];
    if (facts.rows == 0) return true;
    const auto share = static_cast<float>(1.0 / facts.rows);
    float squares = 0;
    for (std::size_t i = 0; i < cols_; ++i) {
      sum[i] *= share;
      const float square = sum[i] * sum[i];
      squares += square;
    }
    const float norm = std::sqrt(squares);
    if (!(norm > 0)) return true;
    kernels_->add_scaled(sum_.get(), sum, static_cast<float>(1.0 / norm), cols_);
    ++count;
    return true;
  });
  if (count == 0) return;
  for (std::size_t i = 0; i < cols_; ++i) sum_.get()[i] *= static_cast<float>(1.0 / static_cast<double>(count));
}

}  // namespace smolfast::fasttext

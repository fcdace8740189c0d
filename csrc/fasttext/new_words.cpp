#include "fasttext/new_words.h"

#include <algorithm>

#include "fasttext/kernels.h"

namespace smolfast::fasttext {

KnownWord known_word(const Model& model, std::string_view word, uint32_t hash) {
  KnownWord known{{hash, 0, word == kEndOfLine ? WordKind::kEnd : WordKind::kPlain}, model.vocabulary.find(word, hash)};
  const bool is_label =
      known.row == Vocabulary::kAbsent ? word.starts_with(kLabelPrefix) : known.row >= model.vocabulary.words();
  if (!is_label) return known;
  known.row = Vocabulary::kAbsent;
  if (model.supervised()) known.facts.kind = WordKind::kLabel;
  return known;
}

namespace {

int32_t shortest(const Model& model) {
  return std::max(1, model.settings.minn);
}

}  // namespace

NewWords::NewWords(const Model& model)
    : model_(model),
      cols_(static_cast<std::size_t>(model.input.cols())),
      marked_(model.settings.maxn),
      bucket_(static_cast<uint32_t>(std::max(1, model.settings.bucket))),
      ngrams_(static_cast<std::size_t>(std::max(0, model.settings.maxn - shortest(model) + 1))),
      sums_(aligned_floats(kMost * cols_)),
      row_(cols_) {}

std::size_t NewWords::push(std::string_view word) {
  words_[count_] = {word, {}, sums_.get() + count_ * cols_, true};
  return count_++;
}

void NewWords::sum_all(const Kernels& kernels) {
  if (count_ == 0) return;
  for (std::size_t i = 0; i < count_; ++i) {
    words_[i].facts.hash = hash_of(words_[i].text);
    model_.vocabulary.prefetch_slot(words_[i].facts.hash);
  }
  for (std::size_t i = 0; i < count_; ++i) {
    const KnownWord known = known_word(model_, words_[i].text, words_[i].facts.hash);
    words_[i].facts = known.facts;
    own_[i] = known.row;
  }
  const SubwordLoops& loops = subword_loops();
  find_ngrams(loops);
  gather_rows(loops);
  const int32_t* rows = rows_.data();
  for (std::size_t i = 0; i < count_; ++i) {
    const auto size = static_cast<std::size_t>(words_[i].facts.rows);
    std::fill_n(words_[i].sum, cols_, 0.0f);
    model_.input.add_rows(kernels, rows, size, words_[i].sum, row_.data());
    rows += size;
  }
}

// The rows of all words' n-grams, length by length.
void NewWords::find_ngrams(const SubwordLoops& loops) {
  marked_.clear();
  for (std::size_t i = 0; i < count_; ++i) {
    spans_[i] = {marked_.size(), 0};
    if (ngrams_.empty() || words_[i].facts.kind != WordKind::kPlain) continue;
    words_[i].done = marked_.push(words_[i].text);
    spans_[i].size = marked_.size() - spans_[i].begin;
  }
  const Vocabulary& vocabulary = model_.vocabulary;
  for (NGrams& of_length : ngrams_) of_length.clear(marked_.size());
  loops.find(marked_, bucket_, vocabulary.pruned() ? vocabulary.kept().bits() : nullptr, shortest(model_),
             ngrams_.data(), ngrams_.size());
  for (NGrams& of_length : ngrams_) {
    if (vocabulary.pruned()) {
      vocabulary.kept().rows_of_kept(of_length.buckets.data(), of_length.count, vocabulary.words(),
                                     of_length.rows.data());
      continue;
    }
    for (std::size_t i = 0; i < of_length.count; ++i) {
      of_length.rows[i] = vocabulary.words() + static_cast<int32_t>(of_length.buckets[i]);
    }
  }
}

// The rows of all words into rows_, each word's own first.
void NewWords::gather_rows(const SubwordLoops& loops) {
  std::size_t room = count_ + Marked::kAtOnce;
  for (const NGrams& of_length : ngrams_) room += of_length.count;
  if (rows_.size() < room) rows_.resize(2 * room);
  int32_t* to = rows_.data();
  for (std::size_t i = 0; i < count_; ++i) {
    int32_t* const first = to;
    *to = own_[i];
    to += own_[i] != Vocabulary::kAbsent ? 1 : 0;
    if (spans_[i].size != 0) to = loops.take(ngrams_.data(), ngrams_.size(), spans_[i].begin, spans_[i].size, to);
    words_[i].facts.rows = static_cast<int32_t>(to - first);
    for (const int32_t* row = first; row < to; ++row) model_.input.prefetch_row(*row);
  }
}

}  // namespace smolfast::fasttext

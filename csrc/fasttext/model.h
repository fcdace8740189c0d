// A model file of fastText's, formats 11 and 12, mapped and checked whole: after it is open no index leaves it.
#pragma once

#include <cstdint>
#include <string>

#include "fasttext/mapped_file.h"
#include "fasttext/matrix.h"
#include "fasttext/vocabulary.h"

namespace smolfast::fasttext {

inline constexpr int32_t kMagic = 793712314;  // the first number of a file

enum class Loss : int32_t { kHierarchical = 1, kNegativeSampling = 2, kSoftmax = 3, kOneAgainstAll = 4 };
enum class Kind : int32_t { kCbow = 1, kSkipgram = 2, kSupervised = 3 };

// fastText's arguments, in the file's order and under its names.
struct Settings {
  int32_t dim = 100;
  int32_t ws = 5;
  int32_t epoch = 5;
  int32_t min_count = 1;
  int32_t neg = 5;
  int32_t word_ngrams = 1;
  Loss loss = Loss::kSoftmax;
  Kind model = Kind::kSupervised;
  int32_t bucket = 0;
  int32_t minn = 0;
  int32_t maxn = 0;
  int32_t lr_update_rate = 100;
  double t = 1e-4;
};

struct Model {
  // Throws Error for what isn't a whole model.
  explicit Model(const std::string& path);
  // The same from bytes that outlive it; errors call them `name`.
  Model(std::string_view bytes, const std::string& name);

  bool supervised() const { return settings.model == Kind::kSupervised; }
  int32_t labels() const { return vocabulary.labels(); }
  std::string_view label(int32_t id) const { return vocabulary.entry(vocabulary.words() + id); }

  std::string name;
  MappedFile file;
  int32_t version = 0;
  Settings settings;
  Vocabulary vocabulary;
  Matrix input;
  Matrix output;

 private:
  void read(std::string_view bytes);
};

}  // namespace smolfast::fasttext

#include "fasttext/file_head.h"

namespace smolfast::fasttext {

std::string file_head(const Settings& s, const std::vector<Entry>& words, const std::vector<Entry>& labels,
                      int64_t tokens, const std::vector<KeptRow>* kept) {
  std::string bytes;
  put(bytes, kMagic);
  put(bytes, int32_t{12});
  for (const int32_t value : {s.dim, s.ws, s.epoch, s.min_count, s.neg, s.word_ngrams, static_cast<int32_t>(s.loss),
                              static_cast<int32_t>(s.model), s.bucket, s.minn, s.maxn, s.lr_update_rate}) {
    put(bytes, value);
  }
  put(bytes, s.t);
  put(bytes, static_cast<int32_t>(words.size() + labels.size()));
  put(bytes, static_cast<int32_t>(words.size()));
  put(bytes, static_cast<int32_t>(labels.size()));
  put(bytes, tokens);
  put(bytes, kept == nullptr ? int64_t{-1} : static_cast<int64_t>(kept->size()));
  int8_t kind = 0;
  for (const auto* entries : {&words, &labels}) {
    for (const Entry& entry : *entries) {
      bytes += entry.word;
      bytes += '\0';
      put(bytes, entry.count);
      put(bytes, kind);
    }
    kind = 1;
  }
  if (kept != nullptr) {
    for (const auto& [bucket, row] : *kept) {
      put(bytes, bucket);
      put(bytes, row);
    }
  }
  return bytes;
}

std::string matrix_head(int64_t rows, int64_t cols) {
  std::string bytes;
  put(bytes, false);  // not quantised
  put(bytes, rows);
  put(bytes, cols);
  return bytes;
}

}  // namespace smolfast::fasttext

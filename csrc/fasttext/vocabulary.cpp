#include "fasttext/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "fasttext/reader.h"

namespace smolfast::fasttext {

Vocabulary Vocabulary::read(Reader& reader, int32_t buckets) {
  Vocabulary read;
  const int32_t size = reader.number<int32_t>("the vocabulary's size");
  read.words_ = reader.number<int32_t>("the number of words");
  const int32_t labels = reader.number<int32_t>("the number of labels");
  read.tokens_ = reader.number<int64_t>("the number of tokens");
  const auto kept = reader.number<int64_t>("the number of kept n-grams");
  constexpr int64_t kLeastEntry = 10;  // a zero byte, a count, a kind
  if (size < 0 || read.words_ < 0 || labels < 0 || int64_t{read.words_} + labels != size ||
      size > reader.left() / kLeastEntry) {
    reader.fail("the vocabulary claims " + std::to_string(size) + " entries, " + std::to_string(read.words_) +
                " words and " + std::to_string(labels) + " labels, in " + std::to_string(reader.left()) + " bytes");
  }
  read.entries_.reserve(static_cast<std::size_t>(size));
  read.counts_.reserve(static_cast<std::size_t>(size));
  for (int32_t id = 0; id < size; ++id) {
    read.entries_.push_back(reader.word("an entry of the vocabulary"));
    read.counts_.push_back(reader.number<int64_t>("an entry's count"));
    const auto kind = reader.number<int8_t>("an entry's kind");
    if (kind != (id < read.words_ ? 0 : 1)) {
      reader.fail("entry " + std::to_string(id) + " of the vocabulary is of kind " + std::to_string(kind) +
                  ", though " + std::to_string(read.words_) + " words come first");
    }
  }
  read.index_entries();
  read.pruned_ = kept >= 0;
  if (read.pruned_) read.kept_ = KeptBuckets(reader, kept, buckets);
  return read;
}

void Vocabulary::index_entries() {
  const std::size_t room = std::bit_ceil(entries_.size() * 2 + 2);
  slots_.assign(room, {0, kAbsent});
  slot_mask_ = room - 1;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const uint32_t hash = hash_of(entries_[i]);
    std::size_t at = hash & slot_mask_;
    while (slots_[at].id != kAbsent && !(slots_[at].hash == hash && entry(slots_[at].id) == entries_[i])) {
      at = (at + 1) & slot_mask_;
    }
    slots_[at] = {hash, static_cast<int32_t>(i)};  // the last of equal entries counts
  }
}

}  // namespace smolfast::fasttext

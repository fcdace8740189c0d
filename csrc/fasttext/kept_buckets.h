// Which n-grams' buckets a pruned model kept, and their rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace smolfast::fasttext {

class Reader;

class KeptBuckets {
 public:
  KeptBuckets() = default;
  // Reads so many pairs of a bucket and its row. Buckets beyond the model's can't be asked for and are passed over.
  KeptBuckets(Reader& reader, int64_t pairs, int32_t buckets);

  // Moves those of these buckets that were kept to the front, in their order, and returns how many.
  std::size_t keep(uint32_t* asked, std::size_t count) const;
  // A bit for each bucket: whether it was kept.
  const uint64_t* bits() const { return bits_.data(); }
  // Writes first + the row of each of these buckets, all of which were kept.
  void rows_of_kept(const uint32_t* kept, std::size_t count, int32_t first, int32_t* rows) const;
  // The largest row, or -1.
  int32_t last_row() const { return last_row_; }

 private:
  std::vector<uint64_t> bits_;    // a bit a bucket
  std::vector<uint32_t> before_;  // for each 64 buckets how many kept ones come before
  std::vector<int32_t> rows_;     // by how many kept buckets come before; empty if they count up from 0
  int32_t last_row_ = -1;
};

}  // namespace smolfast::fasttext

// Texts to ids by byte-level BPE: what `tokenizers` makes of them, special tokens in a text being plain characters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "arrow/column.h"
#include "bpe/merge_table.h"
#include "bpe/pre_tokens.h"
#include "bpe/word_ids.h"

namespace smolfast::bpe {

using Names = std::vector<std::pair<std::string, uint32_t>>;

struct EncoderOptions {
  Pattern pattern;
  std::array<uint32_t, 256> bytes;  // the id of each byte
  std::vector<Merge> merges;
  Names whole;  // words that are one token, whatever the merges
  Names added;  // found in a text before it is cut into words; none overlaps another
};

struct EncodedRows {
  std::unique_ptr<uint32_t[]> ids;  // of the rows one after another
  std::size_t room = 0;             // how many `ids` can hold
  std::vector<int64_t> ends;        // of each row
  // Rows that aren't encoded and have no ids: they have characters that not every version of Unicode knows.
  std::vector<int64_t> left;

  std::size_t size() const { return ends.empty() ? 0 : static_cast<std::size_t>(ends.back()); }
};

class Encoder {
 public:
  explicit Encoder(const EncoderOptions& options);
  ~Encoder();

  // Null rows have no ids. Throws Error with the row for one that isn't UTF-8, unless all are known to be. What comes
  // out doesn't depend on the number of threads.
  EncodedRows encode(const std::vector<arrow::StringColumn>& chunks, bool known_valid, int threads);
  // For the next call, which needn't ask the system for memory then.
  void give_back(EncodedRows rows);

 private:
  struct Worker;
  // Both write at most one id for each byte, WordIds::kWidth more at will, and return their end; null for a text that
  // has to be left.
  template <Pattern pattern>
  uint32_t* encode_stretch(std::string_view text, Worker& worker, uint32_t* out) const;
  uint32_t* encode_text(std::string_view text, Worker& worker, uint32_t* out) const;

  uint32_t* encode_stretch(std::string_view text, Worker& worker, uint32_t* out) const;
  uint32_t* join(std::string_view word, Worker& worker, uint32_t* out) const;
  std::size_t find_added(std::string_view text, std::size_t from, std::size_t& which) const;
  std::unique_ptr<Worker> take_worker();
  EncodedRows take_rows(std::size_t rows, std::size_t room);

  const Pattern pattern_;
  const MergeTable merges_;
  std::unordered_map<std::string, uint32_t> whole_;
  Names added_;
  std::array<bool, 256> begins_added_{};
  std::mutex lock_;
  std::vector<std::unique_ptr<Worker>> free_;  // a thread takes one for as long as it encodes
  std::vector<EncodedRows> given_back_;
};

}  // namespace smolfast::bpe

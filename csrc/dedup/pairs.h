// How alike two documents are, from what is stored about each: signatures or sorted sets of shingle hashes, in memory
// or in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace smolfast::dedup {

// Bytes laid one after another, in pieces of memory that somebody else keeps, or in a file read where needed (not
// mapped: mapped pages would count against the memory budget).
class ByteStore {
 public:
  explicit ByteStore(std::vector<std::span<const char>> pieces);
  // Throws Error when the file can't be opened.
  explicit ByteStore(const std::string& path);
  ~ByteStore();
  ByteStore(const ByteStore&) = delete;
  ByteStore& operator=(const ByteStore&) = delete;

  // The bytes [begin, begin + size), which must not cross pieces; copied into `scratch` when they come from the file.
  const char* read(uint64_t begin, std::size_t size, std::vector<char>& scratch) const;

 private:
  std::vector<std::span<const char>> pieces_;
  std::vector<uint64_t> starts_;
  std::string path_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
};

// The share of equal values, an unbiased estimate of the Jaccard similarity.
class SignaturePairs {
 public:
  // Throws Error unless signatures are of 1 to 65,536 values of 4 or 8 bytes.
  SignaturePairs(const ByteStore& store, std::size_t size, int value_bytes);
  double jaccard(uint32_t a, uint32_t b) const;

 private:
  const ByteStore& store_;
  std::size_t size_;
  int value_bytes_;
};

// The Jaccard similarity itself. `ends[i]` is where document i's sorted 32-bit shingle hashes end, counted in values.
class SetPairs {
 public:
  SetPairs(const ByteStore& store, std::span<const int64_t> ends) : store_(store), ends_(ends) {}
  // Throws Error for a document that isn't there.
  double jaccard(uint32_t a, uint32_t b) const;

 private:
  std::span<const uint32_t> set(uint32_t document, std::vector<char>& scratch) const;

  const ByteStore& store_;
  std::span<const int64_t> ends_;
};

}  // namespace smolfast::dedup

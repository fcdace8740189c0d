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

// What decides whether two documents are alike.
class Pairs {
 public:
  virtual ~Pairs() = default;
  // What is stored of a document; in `scratch` when it comes from a file.
  virtual std::span<const char> read(uint32_t document, std::vector<char>& scratch) const = 0;
  // From what is stored of each.
  virtual double jaccard(std::span<const char> a, std::span<const char> b) const = 0;
  double jaccard(uint32_t a, uint32_t b) const;
};

// The share of equal values, an unbiased estimate of the Jaccard similarity; 0 without shingles.
class SignaturePairs : public Pairs {
 public:
  // Throws Error unless signatures are of 1 to 65,536 values of 4 or 8 bytes.
  SignaturePairs(const ByteStore& store, std::size_t size, int value_bytes);
  std::span<const char> read(uint32_t document, std::vector<char>& scratch) const override;
  double jaccard(std::span<const char> a, std::span<const char> b) const override;
  using Pairs::jaccard;
  // The document's keys of `bands` bands of `rows` values, as of band_keys.
  void keys(uint32_t document, int bands, int rows, std::vector<uint64_t>& keys) const;
  std::size_t size() const { return size_; }

 private:
  const ByteStore& store_;
  std::size_t size_;
  int value_bytes_;
};

// 1 where two documents share a band, 0 elsewhere.
class BandPairs : public Pairs {
 public:
  BandPairs(const SignaturePairs& signatures, int bands, int rows)
      : signatures_(signatures), bands_(bands), rows_(rows) {}
  std::span<const char> read(uint32_t document, std::vector<char>& scratch) const override {
    return signatures_.read(document, scratch);
  }
  double jaccard(std::span<const char> a, std::span<const char> b) const override;
  using Pairs::jaccard;

 private:
  const SignaturePairs& signatures_;
  int bands_;
  int rows_;
};

// The Jaccard similarity itself; 0 without shingles. `ends[i]` is where document i's sorted 32-bit shingle hashes end,
// counted in values.
class SetPairs : public Pairs {
 public:
  SetPairs(const ByteStore& store, std::span<const int64_t> ends) : store_(store), ends_(ends) {}
  // Throws Error for a document that isn't there.
  std::span<const char> read(uint32_t document, std::vector<char>& scratch) const override;
  double jaccard(std::span<const char> a, std::span<const char> b) const override;
  using Pairs::jaccard;

 private:
  const ByteStore& store_;
  std::span<const int64_t> ends_;
};

}  // namespace smolfast::dedup

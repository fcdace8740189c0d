// From a document's text to its MinHash signature.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dedup/hash.h"
#include "dedup/tokens.h"
#include "text/buffer.h"
#include "text/simplify.h"

namespace smolfast::dedup {

enum class Scheme : uint8_t {
  kFast,        // Fast Similarity Sketching, 32-bit values
  kClassic,     // one affine permutation a hash, 32-bit values
  kDatasketch,  // datasketch 2.0's affine32 over the shingle's digest, 32-bit values
  kDatatrove,   // datatrove's, 64-bit values
};

enum class Digest : uint8_t { kSha1, kXxh32, kXxh64 };

struct MinHashConfig {
  Scheme scheme = Scheme::kFast;
  TokenKind tokens = TokenKind::kUnicode;
  const text::SpacyRules* rules = nullptr;  // of kSpacy
  Digest digest = Digest::kSha1;            // of the two schemes made to agree with others
  bool simplify = false;                    // text/simplify.h, with its defaults, before the tokens
  int ngram = 5;
  uint32_t size = 112;  // hashes a signature
  uint64_t seed = 1;
  // The permutations of the schemes made to agree with others, `size` of each; drawn from the seed otherwise.
  std::vector<uint64_t> a;
  std::vector<uint64_t> b;
};

// Buffers of one thread.
class Workspace;

class MinHasher {
 public:
  // Throws Error for options out of range.
  explicit MinHasher(MinHashConfig config);

  const MinHashConfig& config() const { return config_; }
  // Bytes of one value of a signature: 8 for kDatatrove, 4 otherwise.
  int value_bytes() const { return config_.scheme == Scheme::kDatatrove ? 8 : 4; }

  // Writes `size` values of value_bytes() each. A document without shingles gets the greatest value everywhere.
  // Documents shorter than one n-gram have one shingle, of all their tokens; under kDatatrove, as there, none.
  void sign(std::string_view text, Workspace& workspace, void* signature) const;
  // The document's shingle hashes, sorted, each once.
  std::vector<uint64_t> shingles(std::string_view text, Workspace& workspace) const;

 private:
  TokenStream tokens(std::string_view text, Workspace& workspace) const;
  std::string_view prepared(std::string_view text, Workspace& workspace) const;
  template <typename Take>
  void hashed_shingles(std::string_view text, Workspace& workspace, Take&& take) const;
  template <typename Take>
  void digested_shingles(std::string_view text, Workspace& workspace, Take&& take) const;
  template <typename Take>
  void each_block(std::string_view text, Workspace& workspace, Take&& take) const;
  void sign_fast(std::string_view text, Workspace& workspace, uint32_t* signature) const;
  void fill_empty(Workspace& workspace, uint32_t* values) const;

  MinHashConfig config_;
  Secret secret_;
  std::vector<uint32_t> a32_;
  std::vector<uint32_t> b32_;
};

class Workspace {
 public:
  text::Simplifier simplifier{text::SimplifyOptions{}};
  text::Buffer simplified;
  std::vector<uint64_t> words;     // word hashes of one batch behind the last n − 1 of the batch before
  std::vector<uint64_t> shingles;  // those kept, then those of one batch
  std::size_t kept = 0;
  std::vector<uint32_t> hashes;        // of one batch's shingles, 32 bits
  std::vector<uint32_t> empty;         // numbers of buckets without a value
  std::vector<uint32_t> permutations;  // of those
  std::vector<uint32_t> minima;        // and their values
  std::vector<char> joined;            // tokens with one space between
  std::vector<std::size_t> starts;
  TokenBatch batch;
  SpacyTokens spacy;
};

}  // namespace smolfast::dedup

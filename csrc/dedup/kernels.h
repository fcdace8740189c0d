// The inner loops from word hashes to sketches. One body each, compiled for every instruction set the compiler can
// vectorise it for, so that all give the same bits; kernels() is the table for the one in use.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smolfast::dedup {

struct Kernels {
  // out[i] = the hash of the n-gram of words[i … i + ngram), for i < count.
  void (*ngrams)(const uint64_t* words, std::size_t count, int ngram, uint64_t* out);
  // One random round of Fast Similarity Sketching: for each shingle, a bucket in [0, size) and the key
  // round·2³² + value; buckets keep their least key.
  void (*fast_round)(const uint64_t* shingles, std::size_t count, uint32_t round, uint32_t size, uint64_t* buckets);
  // out[i] = the low half of shingle i's hash in a round.
  void (*round_hashes)(const uint64_t* shingles, std::size_t count, uint32_t round, uint32_t* out);
  // minima[k] = min(minima[k], a[k]·h + b[k] mod 2³²) over the hashes.
  void (*affine32)(const uint32_t* hashes, std::size_t count, const uint32_t* a, const uint32_t* b, std::size_t size,
                   uint32_t* minima);
  // minima[k] = min(minima[k], (a[k]·h + b[k] mod 2⁶⁴) mod 2⁶¹−1) over the hashes.
  void (*mersenne61)(const uint64_t* hashes, std::size_t count, const uint64_t* a, const uint64_t* b, std::size_t size,
                     uint64_t* minima);
};

const Kernels& kernels();

}  // namespace smolfast::dedup

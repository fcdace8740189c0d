#include "dedup/minhasher.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"
#include "dedup/digests.h"
#include "dedup/kernels.h"

namespace smolfast::dedup {
namespace {

constexpr uint32_t kEmptyBucket = std::numeric_limits<uint32_t>::max();
constexpr int kMaxNgram = 64;
constexpr std::size_t kVector = 8;  // 64-bit numbers of the widest vector
constexpr std::size_t whole_vectors(std::size_t count) {
  return (count + kVector - 1) / kVector * kVector;
}
constexpr std::size_t whole_lanes(std::size_t count) {
  return (count + kChooseLanes - 1) / kChooseLanes * kChooseLanes;
}
constexpr uint32_t kMaxSize = 1u << 16;

// MurmurHash3's 32-bit finalizer, with which datasketch mixes its input.
uint32_t fmix32(uint32_t h) {
  h = (h ^ h >> 16) * 0x85EBCA6Bu;
  h = (h ^ h >> 13) * 0xC2B2AE35u;
  return h ^ h >> 16;
}

uint64_t digest(Digest kind, const char* data, std::size_t size) {
  switch (kind) {
    case Digest::kXxh32:
      return xxh32(data, size);
    case Digest::kXxh64:
      return xxh64(data, size);
    case Digest::kSha1:
      break;
  }
  return sha1_prefix(data, size);
}

}  // namespace

MinHasher::MinHasher(MinHashConfig config) : config_(std::move(config)), secret_(config_.seed) {
  if (config_.ngram < 1 || config_.ngram > kMaxNgram) {
    throw Error("ngram = " + std::to_string(config_.ngram) + ": expected 1 to " + std::to_string(kMaxNgram) +
                " tokens per shingle");
  }
  if (config_.tokens == TokenKind::kSpacy && config_.rules == nullptr) throw Error("spaCy's tokens need a language");
  if (config_.size < 1 || config_.size > kMaxSize) {
    throw Error("num_perm = " + std::to_string(config_.size) + ": expected 1 to " + std::to_string(kMaxSize));
  }
  if (config_.scheme == Scheme::kFast || config_.scheme == Scheme::kClassic) {
    // Odd multipliers permute: classic's the 32-bit numbers, fast's the 16-bit ones of each half.
    const uint32_t odd = config_.scheme == Scheme::kFast ? 0x00010001u : 1u;
    const std::size_t lanes = whole_lanes(config_.size);
    uint64_t state = config_.seed ^ 0x636C6173736963u;
    for (std::size_t k = 0; k < lanes; ++k) {
      a32_.push_back(static_cast<uint32_t>(splitmix64(state)) | odd);
      b32_.push_back(static_cast<uint32_t>(splitmix64(state)));
    }
  } else {
    if (config_.a.size() != config_.size || config_.b.size() != config_.size) {
      throw Error("this scheme needs num_perm permutation parameters a and b");
    }
    a32_.assign(config_.a.begin(), config_.a.end());
    b32_.assign(config_.b.begin(), config_.b.end());
  }
}

std::string_view MinHasher::prepared(std::string_view text, Workspace& workspace) const {
  if (!config_.simplify) return text;
  workspace.simplified.clear();
  workspace.simplifier.append(text, workspace.simplified);
  return workspace.simplified.view();
}

TokenStream MinHasher::tokens(std::string_view text, Workspace& workspace) const {
  if (config_.tokens == TokenKind::kSpacy) return TokenStream(workspace.spacy.find(*config_.rules, text));
  return TokenStream(config_.tokens, text);
}

// Native shingles: take(hashes, count) for each batch, which lies behind the first workspace.kept of
// workspace.shingles; take may keep it by adding to that.
template <typename Take>
void MinHasher::hashed_shingles(std::string_view text, Workspace& workspace, Take&& take) const {
  const Kernels& kernel = kernels();
  const auto context = static_cast<std::size_t>(config_.ngram) - 1;
  constexpr std::size_t kBatch = TokenBatch::kCapacity + TokenBatch::kSlack;
  if (workspace.words.size() < context + kBatch + kVector) workspace.words.resize(context + kBatch + kVector);
  workspace.kept = 0;
  uint64_t* words = workspace.words.data();
  std::size_t held = 0;  // words in the buffer
  std::size_t total = 0;
  TokenStream stream = tokens(text, workspace);
  TokenBatch& batch = workspace.batch;
  const auto give = [&](std::size_t count, int ngram) {
    const std::size_t whole = whole_vectors(count);
    if (workspace.shingles.size() < workspace.kept + whole)
      workspace.shingles.resize(workspace.kept + kBatch + kVector);
    uint64_t* shingles = workspace.shingles.data() + workspace.kept;
    kernel.ngrams(words, whole, ngram, shingles);
    total += count;
    take(shingles, count);
  };
  while (stream.next(batch)) {
    if (held > context) {
      std::memmove(words, words + held - context, context * sizeof(uint64_t));
      held = context;
    }
    kernel.hash_words(text, batch.tokens, batch.size, secret_, words + held);
    held += batch.size;
    if (held > context) give(held - context, config_.ngram);
  }
  if (total == 0 && held != 0) give(1, static_cast<int>(held));
}

// Shingles as other tools make them: the tokens joined by one space (code points by nothing), and a digest of those
// bytes.
template <typename Take>
void MinHasher::digested_shingles(std::string_view text, Workspace& workspace, Take&& take) const {
  std::vector<char>& joined = workspace.joined;
  std::vector<std::size_t>& starts = workspace.starts;
  joined.clear();
  starts.clear();
  const std::size_t gap = config_.tokens == TokenKind::kChar ? 0 : 1;
  TokenStream stream = tokens(text, workspace);
  TokenBatch& batch = workspace.batch;
  while (stream.next(batch)) {
    for (std::size_t i = 0; i < batch.size; ++i) {
      starts.push_back(joined.size());
      joined.insert(joined.end(), text.data() + batch.tokens[i].begin, text.data() + batch.tokens[i].end);
      if (gap != 0) joined.push_back(' ');
    }
  }
  if (starts.empty()) return;
  starts.push_back(joined.size());
  const std::size_t total = starts.size() - 1;
  auto ngram = static_cast<std::size_t>(config_.ngram);
  if (total < ngram) {
    if (config_.scheme == Scheme::kDatatrove) return;
    ngram = total;
  }
  constexpr std::size_t kBlock = 1024;
  workspace.shingles.resize(kBlock);
  const std::size_t count = total - ngram + 1;
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t n = std::min(kBlock, count - first);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t begin = starts[first + i];
      workspace.shingles[i] = digest(config_.digest, joined.data() + begin, starts[first + i + ngram] - gap - begin);
    }
    take(workspace.shingles.data(), n);
  }
}

template <typename Take>
void MinHasher::each_block(std::string_view text, Workspace& workspace, Take&& take) const {
  if (config_.scheme == Scheme::kFast || config_.scheme == Scheme::kClassic) {
    hashed_shingles(text, workspace, take);
  } else {
    digested_shingles(text, workspace, take);
  }
}

// Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup, FOCS 2017, arXiv 1704.04370, algorithm 1) with one random
// round, after which each bucket still empty gets a permutation of its own, as in the paper's second half. A bucket's
// value comes from the first round that reaches it, so it is unbiased: of the union of two sets, any shingle is as
// likely as any other to hold the bucket. Which round it was needn't be part of the value, since values of different
// rounds agree by chance only. The random round runs while the text is read and fills all buckets of most documents;
// the permutations need the shingles again, so they are kept until every bucket is full.
//
// The paper has as many random rounds as buckets, which lowers the error for short documents; one brings most of that,
// and the permutations vectorise where rounds scatter. A filled value carries 32 bits of the shingle that holds it, low
// ones in even buckets and high ones in odd, so that documents of few shingles don't fall together: their bands of two
// rows or more depend on all 64. Each bucket orders the upper 16 bits by an odd factor of its own, modulo 2^16, and
// shingles that agree in them by the lower 16 likewise: one 16-bit product and one 32-bit minimum a vector.
// Root mean square error at 112 buckets and J = 0.8, of 26 / 120 / 700 shingles: classic 0.038 / 0.038 / 0.038, this
// 0.034 / 0.029 / 0.035 (two random rounds 0.031 / 0.028 / 0.035), bias below 0.0005.
void MinHasher::sign_fast(std::string_view text, Workspace& workspace, uint32_t* signature) const {
  const Kernels& kernel = kernels();
  const uint32_t size = config_.size;
  std::fill(signature, signature + size, kEmptyBucket);
  const auto full = [&] { return std::find(signature, signature + size, kEmptyBucket) == signature + size; };
  std::size_t review = std::max<std::size_t>(4096, 16 * std::size_t{size});
  bool keep = true;
  hashed_shingles(text, workspace, [&](uint64_t* shingles, std::size_t count) {
    kernel.scatter(shingles, count, size, signature);
    if (!keep) return;
    workspace.kept += count;
    if (workspace.kept < review) return;
    if (full()) {
      keep = false;
      workspace.kept = 0;
      return;
    }
    // A long text with empty buckets repeats itself.
    const auto begin = workspace.shingles.begin();
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(workspace.kept));
    workspace.kept =
        static_cast<std::size_t>(std::unique(begin, begin + static_cast<std::ptrdiff_t>(workspace.kept)) - begin);
    review = std::max(review, 2 * workspace.kept);
  });
  if (workspace.kept != 0 && !full()) fill_empty(workspace, signature);
}

void MinHasher::fill_empty(Workspace& workspace, uint32_t* values) const {
  const Kernels& kernel = kernels();
  const std::size_t size = config_.size;
  const uint64_t* shingles = workspace.shingles.data();
  const std::size_t count = workspace.kept;
  const std::size_t lanes = a32_.size();
  if (workspace.minima.size() < lanes) workspace.minima.resize(lanes);
  uint32_t* minima = workspace.minima.data();
  if (count < size / 2) {
    // Most buckets are empty: permute for all rather than find which.
    kernel.choose(shingles, count, a32_.data(), lanes, minima);
    kernel.fill(minima, size, values);
    return;
  }
  // Even buckets at even places, odd ones at odd. Without a branch: which are empty can't be predicted.
  std::vector<uint32_t>& empty = workspace.empty;
  std::vector<uint32_t>& chosen = workspace.permutations;
  empty.resize(size + 2);
  std::size_t place[2] = {0, 1};
  for (std::size_t k = 0; k < size; ++k) {
    std::size_t& at = place[k & 1];
    empty[at] = static_cast<uint32_t>(k);
    at += values[k] == kEmptyBucket ? 2 : 0;
  }
  const std::size_t chosen_lanes = whole_lanes(std::max(place[0], place[1] - 1));
  chosen.resize(chosen_lanes);
  for (std::size_t odd = 0; odd < 2; ++odd) {
    for (std::size_t at = odd; at < place[odd]; at += 2) chosen[at] = a32_[empty[at]];
  }
  kernel.choose(shingles, count, chosen.data(), chosen_lanes, minima);
  for (std::size_t odd = 0; odd < 2; ++odd) {
    for (std::size_t at = odd; at < place[odd]; at += 2) values[empty[at]] = minima[at];
  }
}

void MinHasher::sign(std::string_view text, Workspace& workspace, void* signature) const {
  const Kernels& kernel = kernels();
  text = prepared(text, workspace);
  if (config_.scheme == Scheme::kFast) {
    sign_fast(text, workspace, static_cast<uint32_t*>(signature));
    return;
  }
  if (config_.scheme == Scheme::kDatatrove) {
    auto* minima = static_cast<uint64_t*>(signature);
    std::fill(minima, minima + config_.size, std::numeric_limits<uint64_t>::max());
    digested_shingles(text, workspace, [&](const uint64_t* shingles, std::size_t count) {
      kernel.mersenne61(shingles, count, config_.a.data(), config_.b.data(), config_.size, minima);
    });
    return;
  }
  auto* minima = static_cast<uint32_t*>(signature);
  std::fill(minima, minima + config_.size, std::numeric_limits<uint32_t>::max());
  each_block(text, workspace, [&](const uint64_t* shingles, std::size_t count) {
    workspace.hashes.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const auto h = static_cast<uint32_t>(shingles[i]);
      workspace.hashes[i] = config_.scheme == Scheme::kDatasketch ? fmix32(h) : h;
    }
    kernel.affine32(workspace.hashes.data(), count, a32_.data(), b32_.data(), config_.size, minima);
  });
}

std::vector<uint64_t> MinHasher::shingles(std::string_view text, Workspace& workspace) const {
  std::vector<uint64_t> all;
  each_block(prepared(text, workspace), workspace,
             [&](const uint64_t* shingles, std::size_t count) { all.insert(all.end(), shingles, shingles + count); });
  if (config_.scheme == Scheme::kDatasketch) {
    for (uint64_t& h : all) h &= 0xFFFFFFFFu;
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace smolfast::dedup

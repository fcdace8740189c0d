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

// Random rounds of Fast Similarity Sketching before the buckets still empty get a permutation each. The paper has as
// many as buckets; two bring nearly all of its gain, and the permutations vectorise where the rounds scatter. Root mean
// square error at 112 buckets and J = 0.8, of 26 / 120 / 700 shingles: classic 0.037 / 0.039 / 0.036, two rounds
// 0.031 / 0.028 / 0.035, four 0.029 / 0.028 / 0.034, 112 rounds 0.027 / 0.029 / 0.035.
constexpr uint32_t kRandomRounds = 2;
constexpr uint64_t kEmptyBucket = std::numeric_limits<uint64_t>::max();
constexpr int kMaxNgram = 64;
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
  if (config_.size < 1 || config_.size > kMaxSize) {
    throw Error("num_perm = " + std::to_string(config_.size) + ": expected 1 to " + std::to_string(kMaxSize));
  }
  if (config_.scheme == Scheme::kFast || config_.scheme == Scheme::kClassic) {
    uint64_t state = config_.seed ^ 0x636C6173736963u;
    for (uint32_t k = 0; k < config_.size; ++k) {
      // Odd multipliers permute the 32-bit numbers.
      a32_.push_back(static_cast<uint32_t>(splitmix64(state)) | 1);
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

// Native shingles: take(hashes, count) for each batch; hashes may be changed but not kept.
template <typename Take>
void MinHasher::hashed_shingles(std::string_view text, Workspace& workspace, Take&& take) const {
  const Kernels& kernel = kernels();
  const auto context = static_cast<std::size_t>(config_.ngram) - 1;
  constexpr std::size_t kBatch = TokenBatch::kCapacity + TokenBatch::kSlack;
  workspace.words.resize(context + kBatch);
  workspace.shingles.resize(kBatch);
  uint64_t* words = workspace.words.data();
  std::size_t held = 0;  // words before the batch
  std::size_t total = 0;
  TokenStream stream(config_.tokens, text);
  const char* limit = text.data() + text.size();
  TokenBatch& batch = workspace.batch;
  while (stream.next(batch)) {
    for (std::size_t i = 0; i < batch.size; ++i) {
      const text::Word token = batch.tokens[i];
      words[held + i] = hash_word(text.data() + token.begin, token.end - token.begin, limit, secret_);
    }
    held += batch.size;
    if (held > context) {
      const std::size_t count = held - context;
      kernel.ngrams(words, count, config_.ngram, workspace.shingles.data());
      total += count;
      take(workspace.shingles.data(), count);
      std::memmove(words, words + count, context * sizeof(uint64_t));
      held = context;
    }
  }
  if (total == 0 && held != 0) {
    kernel.ngrams(words, 1, static_cast<int>(held), workspace.shingles.data());
    take(workspace.shingles.data(), std::size_t{1});
  }
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
  TokenStream stream(config_.tokens, text);
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
  const std::size_t tokens = starts.size() - 1;
  auto ngram = static_cast<std::size_t>(config_.ngram);
  if (tokens < ngram) {
    if (config_.scheme == Scheme::kDatatrove) return;
    ngram = tokens;
  }
  constexpr std::size_t kBlock = 1024;
  workspace.shingles.resize(kBlock);
  const std::size_t count = tokens - ngram + 1;
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

// Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup, FOCS 2017, arXiv 1704.04370, algorithm 1) with kRandomRounds
// random rounds. A bucket's value comes from the first round that reaches it, so it is unbiased whatever their number:
// of the union of two sets, any shingle is as likely as any other to hold the bucket. Round 0 runs while the text is
// read and fills all buckets of most documents; the later rounds need the shingles again, so they are kept until every
// bucket is full. The round needn't be part of the value, since values of different rounds agree by chance only.
void MinHasher::sign_fast(std::string_view text, Workspace& workspace, uint32_t* signature) const {
  const Kernels& kernel = kernels();
  std::vector<uint64_t>& buckets = workspace.buckets;
  std::vector<uint64_t>& kept = workspace.kept;
  buckets.assign(config_.size, kEmptyBucket);
  kept.clear();
  const auto full = [&] { return std::find(buckets.begin(), buckets.end(), kEmptyBucket) == buckets.end(); };
  std::size_t review = std::max<std::size_t>(4096, 16 * std::size_t{config_.size});
  bool keep = true;
  hashed_shingles(text, workspace, [&](uint64_t* shingles, std::size_t count) {
    kernel.fast_round(shingles, count, 0, config_.size, buckets.data());
    if (!keep) return;
    kept.insert(kept.end(), shingles, shingles + count);
    if (kept.size() < review) return;
    if (full()) {
      keep = false;
      return;
    }
    // A long text with empty buckets repeats itself.
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    review = std::max(review, 2 * kept.size());
  });
  if (keep && !kept.empty() && !full()) fill_empty(workspace);
  for (uint32_t k = 0; k < config_.size; ++k) signature[k] = static_cast<uint32_t>(buckets[k]);
}

void MinHasher::fill_empty(Workspace& workspace) const {
  const Kernels& kernel = kernels();
  std::vector<uint64_t>& buckets = workspace.buckets;
  const std::vector<uint64_t>& shingles = workspace.kept;
  // Rounds beyond the one that fills the last bucket change nothing: their keys are greater.
  for (uint32_t round = 1; round < kRandomRounds; ++round) {
    kernel.fast_round(shingles.data(), shingles.size(), round, config_.size, buckets.data());
  }
  // Without a branch: which buckets are empty can't be predicted.
  std::vector<uint32_t>& empty = workspace.empty;
  empty.resize(config_.size);
  std::size_t count = 0;
  for (uint32_t k = 0; k < config_.size; ++k) {
    empty[count] = k;
    count += buckets[k] == kEmptyBucket;
  }
  if (count == 0) return;
  workspace.hashes.resize(shingles.size());
  kernel.round_hashes(shingles.data(), shingles.size(), kRandomRounds, workspace.hashes.data());
  constexpr std::size_t kLanes = 16;  // whole vectors, whatever is left over
  const std::size_t padded = (count + kLanes - 1) / kLanes * kLanes;
  workspace.lanes.assign(3 * padded, 0);
  uint32_t* a = workspace.lanes.data();
  uint32_t* b = a + padded;
  uint32_t* minima = b + padded;
  for (std::size_t i = 0; i < count; ++i) {
    a[i] = a32_[empty[i]];
    b[i] = b32_[empty[i]];
  }
  std::fill(minima, minima + padded, std::numeric_limits<uint32_t>::max());
  kernel.affine32(workspace.hashes.data(), shingles.size(), a, b, padded, minima);
  for (std::size_t i = 0; i < count; ++i) buckets[empty[i]] = minima[i];
}

void MinHasher::sign(std::string_view text, Workspace& workspace, void* signature) const {
  const Kernels& kernel = kernels();
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
  each_block(text, workspace,
             [&](const uint64_t* shingles, std::size_t count) { all.insert(all.end(), shingles, shingles + count); });
  if (config_.scheme == Scheme::kDatasketch) {
    for (uint64_t& h : all) h &= 0xFFFFFFFFu;
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace smolfast::dedup

// Which pairs of tokens byte-level BPE merges, and in which order (Sennrich et al. 2016, arXiv 1508.07909).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "bpe/word_counts.h"

namespace smolfast::bpe {

struct MergeOptions {
  std::size_t tokens;         // how many to have in the end, the 256 bytes included
  uint64_t least_times;       // a pair that comes less often isn't merged
  std::size_t longest_token;  // bytes
};

// Pairs of tokens in the order of their merges. Tokens 0 to 255 are the bytes in the order of kByteOrder; each merge
// makes the next one, unless an earlier one made the same bytes of other tokens. Fewer than wanted come out where words
// hold no more.
//
// The commonest pair is merged first, of several the one with the lower first token, then second. These are the merges
// that `tokenizers`' BpeTrainer (0.23) finds, pair by pair; they don't depend on the order of the words. Each merge
// visits only the words that its pair came up in, and a heap whose counts are put right when they come to the top says
// which is next.
std::vector<std::pair<uint32_t, uint32_t>> learn_merges(const WordCounts& words, const MergeOptions& options);

// The byte of each of the first tokens: those that GPT-2's alphabet shows as themselves come first.
std::vector<uint8_t> byte_order();

}  // namespace smolfast::bpe

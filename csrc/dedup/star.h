// Which documents of a cluster stay. Each of the others goes for one that stays and is like it: a star around each that
// stays, where a chain would remove what is like none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dedup/pairs.h"

namespace smolfast::dedup {

// The work is bounded. A document is compared with up to kFirstKept documents that stay in its cluster, the best, and
// of the others, with up to kKeptOfBand in each band that it shares with them, the best again.
inline constexpr std::size_t kFirstKept = 64;
inline constexpr std::size_t kKeptOfBand = 8;

struct Star {
  const Pairs& alike;
  double threshold;                  // from which Jaccard similarity on
  const SignaturePairs& signatures;  // for the bands
  int bands;
  int rows;
  uint32_t protected_documents = 0;  // those of lower number stay
  std::span<const uint32_t> texts;   // the least document of each one's text
  bool text_decides = true;          // whether documents of one text are of one signature

  // For each document of a cluster, best first, the document that stays for it: itself, or the best of one text that
  // stays, or else the best that it is like, of those compared. Returns how many pairs were compared.
  uint64_t choose(std::span<const uint32_t> cluster, uint32_t* stays) const;
};

// The same for cluster i = documents[starts[i] … starts[i + 1]), all of them.
uint64_t choose_stars(const Star& star, std::span<const uint32_t> documents, std::span<const int64_t> starts,
                      int threads, uint32_t* stays);

}  // namespace smolfast::dedup

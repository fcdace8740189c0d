// From signatures to clusters: band keys, groups of documents that share one, and the sets those join.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dedup/union_find.h"

namespace smolfast::dedup {

// The key of a document that takes part in no group.
inline constexpr uint64_t kNoKey = 0xFFFFFFFFFFFFFFFFu;

// Keys of `bands` bands of `rows` values each, band by band: keys[band·documents + document]. A signature of greatest
// values only (no shingles) gets kNoKey everywhere. Value is uint32_t or uint64_t.
template <typename Value>
void band_keys(const Value* signatures, std::size_t documents, std::size_t size, int bands, int rows, int threads,
               uint64_t* keys);

// One key a document, in pieces that follow one another.
using KeyColumn = std::vector<std::span<const uint64_t>>;

// May two documents of a group be joined? Called from several threads.
using Accept = std::function<bool(uint32_t, uint32_t)>;

struct UniteCounts {
  uint64_t groups = 0;  // of two documents or more
  uint64_t pairs = 0;   // tested, or joined untested
  uint64_t accepted = 0;
};

// Joins the documents that share a key in some column. Each column is read `parts` times, for a range of keys each
// time, so that a thread needs about 32 bytes · documents / parts. Without `accept`, all of a group are joined. With
// it, pairs are tested: all of them in groups of up to kAllPairs documents; in larger ones each document against up to
// kLeaders documents that joined none before, so that the work stays linear. The sets don't depend on timing.
// `texts[d]` is the least document of d's text and keys, which are looked at for that one alone: it stands for all,
// which must be of one set already. Empty: each stands for itself.
inline constexpr std::size_t kAllPairs = 32;
inline constexpr std::size_t kLeaders = 32;
UniteCounts unite_equal_keys(UnionFind& sets, const std::vector<KeyColumn>& columns, std::span<const uint32_t> texts,
                             int parts, int threads, const Accept& accept);

}  // namespace smolfast::dedup

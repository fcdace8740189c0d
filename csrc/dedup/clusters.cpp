#include "dedup/clusters.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <limits>

#include "base/threads.h"
#include "dedup/hash.h"

namespace smolfast::dedup {
namespace {

struct Record {
  uint64_t key;
  uint32_t document;
};

bool before(const Record& x, const Record& y) {
  return x.key != y.key ? x.key < y.key : x.document < y.document;
}

void join_group(UnionFind& sets, const Record* group, std::size_t size, const Accept& accept, UniteCounts& counts) {
  ++counts.groups;
  const auto test = [&](uint32_t a, uint32_t b) {
    ++counts.pairs;
    if (!accept(a, b)) return false;
    ++counts.accepted;
    sets.unite(a, b);
    return true;
  };
  if (size <= kAllPairs) {
    for (std::size_t i = 1; i < size; ++i) {
      for (std::size_t j = 0; j < i; ++j) test(group[j].document, group[i].document);
    }
    return;
  }
  std::vector<uint32_t> leaders{group[0].document};
  for (std::size_t i = 1; i < size; ++i) {
    bool joined = false;
    for (std::size_t j = 0; j < leaders.size() && !joined; ++j) joined = test(leaders[j], group[i].document);
    if (!joined && leaders.size() < kLeaders) leaders.push_back(group[i].document);
  }
}

// Joins records of equal keys, in any order of keys, by a table that fits into the L1 cache: a fifth of the time that
// sorting takes. Documents come in ascending, so that the first of a key is its least.
void join_untested(UnionFind& sets, const Record* begin, const Record* end, UniteCounts& counts) {
  struct Place {
    uint64_t key;
    uint32_t first;
    bool used;
    bool group;
  };
  thread_local std::vector<Place> table;
  const std::size_t places = std::bit_ceil(2 * static_cast<std::size_t>(end - begin));
  table.assign(places, Place{});
  for (const Record* record = begin; record < end; ++record) {
    std::size_t at = (record->key * 0x9E3779B97F4A7C15u >> 32) & (places - 1);
    while (table[at].used && table[at].key != record->key) at = (at + 1) & (places - 1);
    Place& place = table[at];
    if (!place.used) {
      place = {record->key, record->document, true, false};
      continue;
    }
    counts.groups += !place.group;
    place.group = true;
    ++counts.pairs;
    ++counts.accepted;
    sets.unite(place.first, record->document);
  }
  // What a key shared by very many documents took.
  if (places > (std::size_t{1} << 16)) std::vector<Place>().swap(table);
}

// Keys are hashes, so their top bits split them evenly; about 512 records a bucket sort inside the L1 cache.
void join_part(UnionFind& sets, const KeyColumn& column, uint64_t part, uint64_t parts, const Accept& accept,
               UniteCounts& counts) {
  const auto part_of = [&](uint64_t key) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(key) * parts) >> 64);
  };
  const auto each = [&](auto&& body) {
    uint32_t document = 0;
    for (const auto& piece : column) {
      for (const uint64_t key : piece) {
        if (key != kNoKey && (parts == 1 || part_of(key) == part)) body(key, document);
        ++document;
      }
    }
  };
  std::size_t records = 0;
  if (parts == 1) {
    for (const auto& piece : column) records += piece.size();
  } else {
    each([&](uint64_t, uint32_t) { ++records; });
  }
  const std::size_t buckets = std::max<std::size_t>(1, records / 512);
  const auto bucket_of = [&](uint64_t key) {
    // The place inside the part's range, again by the top bits.
    const auto place = static_cast<uint64_t>(static_cast<unsigned __int128>(key) * parts);
    return static_cast<std::size_t>((static_cast<unsigned __int128>(place) * buckets) >> 64);
  };
  std::vector<std::size_t> starts(buckets + 1, 0);
  each([&](uint64_t key, uint32_t) { ++starts[bucket_of(key) + 1]; });
  for (std::size_t i = 0; i < buckets; ++i) starts[i + 1] += starts[i];
  std::vector<Record> sorted(starts[buckets]);
  std::vector<std::size_t> next(starts.begin(), starts.end() - 1);
  each([&](uint64_t key, uint32_t document) { sorted[next[bucket_of(key)]++] = {key, document}; });
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    Record* begin = sorted.data() + starts[bucket];
    Record* end = sorted.data() + starts[bucket + 1];
    if (!accept) {
      join_untested(sets, begin, end, counts);
      continue;
    }
    // A bucket blown up by one key is in order already when that is its only key: documents come in ascending.
    if (!std::is_sorted(begin, end, before)) std::sort(begin, end, before);
    while (begin < end) {
      Record* stop = begin + 1;
      while (stop < end && stop->key == begin->key) ++stop;
      if (stop - begin > 1) join_group(sets, begin, static_cast<std::size_t>(stop - begin), accept, counts);
      begin = stop;
    }
  }
}

}  // namespace

template <typename Value>
void band_keys(const Value* signatures, std::size_t documents, std::size_t size, int bands, int rows, int threads,
               uint64_t* keys) {
  constexpr std::size_t kBlock = 4096;
  parallel_for((documents + kBlock - 1) / kBlock, threads, [&](std::size_t block) {
    const std::size_t stop = std::min(documents, (block + 1) * kBlock);
    for (std::size_t document = block * kBlock; document < stop; ++document) {
      const Value* values = signatures + document * size;
      Value all = std::numeric_limits<Value>::max();
      for (std::size_t k = 0; k < size; ++k) all &= values[k];
      const bool empty = all == std::numeric_limits<Value>::max();
      for (int band = 0; band < bands; ++band) {
        uint64_t key = splitmix64_of(static_cast<uint64_t>(band));
        for (int row = 0; row < rows; ++row) {
          key = fold(key ^ static_cast<uint64_t>(*values++), 0x9E3779B97F4A7C15u) + static_cast<uint64_t>(row);
        }
        key = fold(key, 0xD6E8FEB86659FD93u);
        if (key == kNoKey) --key;
        keys[static_cast<std::size_t>(band) * documents + document] = empty ? kNoKey : key;
      }
    }
  });
}

template void band_keys<uint32_t>(const uint32_t*, std::size_t, std::size_t, int, int, int, uint64_t*);
template void band_keys<uint64_t>(const uint64_t*, std::size_t, std::size_t, int, int, int, uint64_t*);

UniteCounts unite_equal_keys(UnionFind& sets, const std::vector<KeyColumn>& columns, int parts, int threads,
                             const Accept& accept) {
  const auto per_column = static_cast<std::size_t>(std::max(1, parts));
  std::vector<UniteCounts> counts(columns.size() * per_column);
  parallel_for(counts.size(), threads, [&](std::size_t task) {
    join_part(sets, columns[task / per_column], task % per_column, per_column, accept, counts[task]);
  });
  UniteCounts total;
  for (const UniteCounts& count : counts) {
    total.groups += count.groups;
    total.pairs += count.pairs;
    total.accepted += count.accepted;
  }
  return total;
}

}  // namespace smolfast::dedup

// Clusters and lines: joined sets are those of a plain search, whatever the threads and passes; each document that goes
// is like the one that stays for it; texts lose the flagged lines and nothing else.
#include "dedup/clusters.h"

#include <string>
#include <vector>

#include "dedup/lines.h"
#include "dedup/star.h"
#include "fuzz/fuzz.h"

namespace {

using namespace smolfast;
using namespace smolfast::dedup;

std::vector<uint32_t> joined(const std::vector<std::vector<uint64_t>>& columns, int parts, int threads,
                             const Accept& accept) {
  const auto documents = static_cast<uint32_t>(columns[0].size());
  UnionFind sets(documents);
  std::vector<KeyColumn> pieces;
  for (const auto& column : columns) {
    const std::size_t half = column.size() / 2;
    pieces.push_back({std::span(column).first(half), std::span(column).subspan(half)});
  }
  unite_equal_keys(sets, pieces, {}, parts, threads, accept);
  std::vector<uint32_t> roots;
  for (uint32_t i = 0; i < documents; ++i) roots.push_back(sets.find(i));
  return roots;
}

// The least document that each can be reached from, by passes until nothing changes.
std::vector<uint32_t> searched(const std::vector<std::vector<uint64_t>>& columns) {
  std::vector<uint32_t> roots(columns[0].size());
  for (uint32_t i = 0; i < roots.size(); ++i) roots[i] = i;
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& column : columns) {
      for (std::size_t i = 0; i < roots.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
          if (column[i] != column[j] || column[i] == kNoKey || roots[i] == roots[j]) continue;
          roots[i] = roots[j] = std::min(roots[i], roots[j]);
          changed = true;
        }
      }
    }
  }
  return roots;
}

// One cluster of documents whose signatures have four values: the stars against the rule, pair by pair.
void check_stars(const uint8_t* data, uint32_t documents, uint32_t protected_documents, double threshold) {
  constexpr std::size_t kValues = 4;
  std::vector<uint32_t> values;
  std::vector<uint32_t> texts;
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < documents; ++i) {
    for (std::size_t k = 0; k < kValues; ++k) values.push_back(data[i] == 0xFF ? ~0u : data[i] >> (2 * k) & 3);
    uint32_t text = 0;
    while (data[text] != data[i] || text % 3 != i % 3) ++text;
    texts.push_back(text);
    order.push_back(i);
  }
  const ByteStore store({std::span(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(uint32_t))});
  const SignaturePairs pairs(store, kValues, sizeof(uint32_t));
  const Star star{pairs, threshold, pairs, 2, 2, protected_documents, texts, true};
  std::vector<uint32_t> stays(documents);
  const uint64_t compared = star.choose(order, stays.data());
  fuzz::check(compared <= documents * (kFirstKept + 2 * kKeptOfBand), "more pairs compared than the bound");
  const auto alike = [&](uint32_t a, uint32_t b) { return texts[a] == texts[b] || pairs.jaccard(a, b) >= threshold; };
  for (uint32_t i = 0; i < documents; ++i) {
    fuzz::check(stays[stays[i]] == stays[i], "gone for one that doesn't stay");
    fuzz::check(i >= protected_documents || stays[i] == i, "a protected document goes");
    fuzz::check(stays[i] == i || (stays[i] < i && alike(stays[i], i)), "gone for a document that it isn't like");
    if (documents > kFirstKept || i < protected_documents || stays[i] != i) continue;
    for (uint32_t kept = 0; kept < i; ++kept)
      fuzz::check(stays[kept] != kept || !alike(kept, i), "like one that stays");
  }
}

void check_lines(std::string_view text, std::size_t least) {
  std::vector<uint64_t> hashes;
  hash_lines(text, least, hashes);
  fuzz::check(hashes.size() == count_lines(text, least), "number of lines");
  std::vector<uint8_t> flags(hashes.size());
  std::vector<char> out;
  fuzz::check(drop_lines(text, least, flags.data(), out) == flags.size(), "lines dropped");
  fuzz::check(std::string_view(out.data(), out.size()) == text, "a line went though none was flagged");
  for (std::size_t i = 0; i < flags.size(); ++i) flags[i] = hashes[i] & 1;
  out.clear();
  drop_lines(text, least, flags.data(), out);
  std::vector<uint64_t> left;
  hash_lines({out.data(), out.size()}, least, left);
  std::erase_if(hashes, [](uint64_t h) { return (h & 1) != 0; });
  fuzz::check(left == hashes, "other lines went than were flagged");
}

}  // namespace

// A byte of options, then a byte a document.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t documents = std::min<std::size_t>(size - 1, 300);
  std::vector<std::vector<uint64_t>> columns(3, std::vector<uint64_t>(documents));
  for (std::size_t i = 0; i < documents; ++i) {
    const uint64_t byte = data[1 + i];
    columns[0][i] = (byte & 7) == 7 ? kNoKey : (byte & 7) * 0x2492492492492492u;
    columns[1][i] = (byte >> 3) * 0x0842108421084210u;
    columns[2][i] = (byte % 61) << 58 | i / 3;
  }
  const int threads = (data[0] & 15) == 15 ? 3 : 1;
  const int parts = 1 + (data[0] >> 4 & 3);
  fuzz::check(joined(columns, parts, threads, nullptr) == searched(columns), "not the joined sets");
  const Accept accept = [](uint32_t a, uint32_t b) { return (a * 7 + b * 13) % 5 != 0; };
  fuzz::check(joined(columns, parts, threads, accept) == joined(columns, 1, 1, accept), "threads or passes matter");
  check_stars(data + 1, static_cast<uint32_t>(documents), data[0] % 4, (1 + (data[0] >> 4) % 4) / 4.0);
  check_lines(fuzz::as_text(data + 1, size - 1), 1 + data[0] % 4);
  return 0;
}

// Signatures: the same under every implementation and with a workspace used before, and what the shingles say.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "dedup/minhasher.h"
#include "fuzz/text_fuzz.h"

namespace {

using namespace smolfast;
using namespace smolfast::dedup;

// The definitions of the native schemes, over a document's shingles.
std::vector<uint32_t> expected(const MinHashConfig& config, const std::vector<uint64_t>& shingles) {
  std::vector<uint32_t> values(config.size, 0xFFFFFFFFu);
  if (config.scheme == Scheme::kFast) {
    for (const uint64_t h : shingles) {
      uint32_t& slot = values[((h >> 32) * config.size) >> 32];
      slot = std::min(slot, static_cast<uint32_t>(h));
    }
  }
  uint64_t state = config.seed ^ 0x636C6173736963u;
  for (std::size_t k = 0; k < values.size(); ++k) {
    uint32_t& value = values[k];
    const auto a = static_cast<uint32_t>(splitmix64(state)) | 1;
    const auto b = static_cast<uint32_t>(splitmix64(state));
    if (shingles.empty() || value != 0xFFFFFFFFu) continue;
    for (const uint64_t h : shingles) {
      if (config.scheme == Scheme::kClassic) {
        value = std::min(value, a * static_cast<uint32_t>(h) + b);
      } else {
        const auto half = static_cast<uint32_t>(k % 2 != 0 ? h >> 32 : h);
        const uint32_t upper = (a >> 16 | 1) * (half >> 16) & 0xFFFFu;
        const uint32_t lower = (a & 0xFFFFu) * (half & 0xFFFFu) & 0xFFFFu;
        value = std::min(value, upper << 16 | lower);
      }
    }
  }
  return values;
}

}  // namespace

// Two bytes of options, then the text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  MinHashConfig config;
  config.scheme = static_cast<Scheme>(data[0] & 3);
  config.tokens = static_cast<TokenKind>(data[0] >> 2 & 3);
  config.rules = text::find_spacy_rules("en");
  config.simplify = (data[0] >> 4 & 1) != 0;
  config.digest = static_cast<Digest>((data[0] >> 5) % 3);
  config.ngram = 1 + data[1] % 7;
  config.size = 1 + data[1] / 4;
  if (config.scheme == Scheme::kDatasketch || config.scheme == Scheme::kDatatrove) {
    uint64_t state = 5;
    for (uint32_t k = 0; k < config.size; ++k) {
      config.a.push_back(splitmix64(state) >> 3 | 1);
      config.b.push_back(splitmix64(state) >> 3);
    }
  }
  const std::string repaired = fuzz::repaired(data + 2, size - 2);
  const std::vector<char> exact(repaired.begin(), repaired.end());  // no byte of room around it
  const std::string_view text(exact.data(), exact.size());
  const MinHasher hasher(config);
  static Workspace used;
  const auto sign = [&](Workspace& workspace) {
    std::vector<char> signature(static_cast<std::size_t>(hasher.value_bytes()) * config.size);
    hasher.sign(text, workspace, signature.data());
    return signature;
  };
  const std::vector<char> signature = fuzz::under_every_implementation([&] { return sign(used); });
  Workspace fresh;
  fuzz::check(sign(fresh) == signature, "the workspace matters");
  const std::vector<uint64_t> shingles = fuzz::under_every_implementation([&] { return hasher.shingles(text, used); });
  fuzz::check(std::is_sorted(shingles.begin(), shingles.end()), "shingles out of order");
  if (config.scheme == Scheme::kFast || config.scheme == Scheme::kClassic) {
    const std::vector<uint32_t> values = expected(config, shingles);
    fuzz::check(std::memcmp(values.data(), signature.data(), signature.size()) == 0, "not the scheme's definition");
  }
  return 0;
}

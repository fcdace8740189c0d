#include "bpe/word_ids.h"

#include <algorithm>

namespace smolfast::bpe {

WordIds::WordIds() : seed_(draw_hash_seed()), lines_(std::make_unique<Line[]>(kLines)), slots_(2 * kMostOthers) {}

uint32_t* WordIds::find_any(const Key& key, uint32_t* out) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = key.hash & mask; slots_[at].count != 0; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.tag != tag(key.hash) || slot.size != key.word.size()) continue;
    const uint32_t* const ids = store_.data() + slot.at;
    if (std::memcmp(ids + slot.count, key.word.data(), key.word.size()) == 0) return std::copy_n(ids, slot.count, out);
  }
  return nullptr;
}

void WordIds::add(const Key& key, const uint32_t* ids, const uint32_t* past) {
  const auto count = static_cast<std::size_t>(past - ids);
  if (!key.is_short() || count > kWidth) return add_any(key, ids, count);
  Line& line = lines_[key.hash & (kLines - 1)];
  line[1] = line[0];
  line[0] = {key.low, key.high, {}, static_cast<uint16_t>(key.word.size()), static_cast<uint16_t>(count)};
  std::copy_n(ids, count, line[0].ids.begin());
}

void WordIds::add_any(const Key& key, const uint32_t* ids, std::size_t count) {
  if (others_ == kMostOthers) {
    std::fill(slots_.begin(), slots_.end(), Slot{});
    store_.clear();
    others_ = 0;
  }
  ++others_;
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = key.hash & mask;
  while (slots_[at].count != 0) at = (at + 1) & mask;
  slots_[at] = {tag(key.hash), static_cast<uint32_t>(store_.size()), static_cast<uint16_t>(key.word.size()),
                static_cast<uint16_t>(count)};
  store_.insert(store_.end(), ids, ids + count);
  const std::size_t begin = store_.size();
  store_.resize(begin + (key.word.size() + 3) / 4);
  std::memcpy(store_.data() + begin, key.word.data(), key.word.size());
}

}  // namespace smolfast::bpe

// C4's list of words that no page may hold; the list is the user's.
#include <unordered_map>

#include "filters/characters.h"
#include "filters/filter.h"
#include "text/casing.h"

namespace smolfast::filters {
namespace {

// The words, byte by byte.
class Trie {
 public:
  explicit Trie(const std::vector<std::string>& words) : ends_(1, false) {
    for (const std::string& word : words) {
      uint32_t node = 0;
      for (const char byte : word) node = child(node, static_cast<uint8_t>(byte));
      ends_[node] = true;
    }
    ends_[0] = false;
  }

  // Whether a word begins at `at` for which may_end(its end) holds.
  template <typename MayEnd>
  bool find(const char* at, const char* end, MayEnd&& may_end) const {
    uint32_t node = 0;
    while (at < end) {
      if (node == 0 && first_[static_cast<uint8_t>(*at)] == 0) return false;
      const auto next = children_.find(uint64_t{node} << 8 | static_cast<uint8_t>(*at));
      if (next == children_.end()) return false;
      node = next->second;
      ++at;
      if (ends_[node] && may_end(at)) return true;
    }
    return false;
  }

 private:
  uint32_t child(uint32_t node, uint8_t byte) {
    if (node == 0) first_[byte] = 1;
    const auto [at, added] = children_.try_emplace(uint64_t{node} << 8 | byte, static_cast<uint32_t>(ends_.size()));
    if (added) ends_.push_back(false);
    return at->second;
  }

  std::unordered_map<uint64_t, uint32_t> children_;  // by node and byte
  std::vector<bool> ends_;
  uint8_t first_[256] = {};
};

// What Python's \w matches.
bool is_word_character(uint32_t code) {
  return code == '_' || (text::kind(code) & text::kAlphanumeric) != 0;
}

class C4BadWords final : public Filter {
 public:
  explicit C4BadWords(const C4BadWordsRules& rules) : flanked_(rules.flanked), trie_(rules.words) {}

  std::vector<std::string> reasons() const override { return {"document_removed_with_badwords"}; }
  std::vector<std::string> signals() const override { return {"found"}; }

  void judge(Document& document, Verdict& verdict) override {
    lower_.clear();
    const bool changed = mapper_.run(document.text(), lower_);
    const bool found = holds_word(changed ? lower_.view() : document.text());
    verdict.record(0, found);
    if (found) verdict.fail(0);
  }

 private:
  bool holds_word(std::string_view text) const {
    const char* const end = text.data() + text.size();
    const auto may_end = [&](const char* at) {
      return !flanked_ || at == end || !is_word_character(text::decode(at).code);
    };
    bool inside = false;  // of a word
    for (const char* at = text.data(); at < end;) {
      if (!(flanked_ && inside) && trie_.find(at, end, may_end)) return true;
      const text::Decoded c = text::decode(at);
      inside = is_word_character(c.code);
      at += c.size;
    }
    return false;
  }

  const bool flanked_;
  const Trie trie_;
  text::CaseMapper mapper_{text::CaseMapper::Mapping::kLower};
  text::Buffer lower_;
};

}  // namespace

std::unique_ptr<Filter> make_c4_bad_words(const C4BadWordsRules& rules) {
  return std::make_unique<C4BadWords>(rules);
}

}  // namespace smolfast::filters

#include "text/spacy_rules.h"

#include <array>
#include <bit>
#include <map>
#include <memory>
#include <mutex>

#include "text/spacy_chunk.h"
#include "text/spacy_words.h"

namespace smolfast::text {
namespace {

constexpr char kRuleEnd = '\x1E';
constexpr char kTokenEnd = '\x1F';

template <typename Value>
std::vector<Value> expand_runs(const uint16_t* runs) {
  std::vector<Value> out;
  for (; runs[1] != 0; runs += 2) out.insert(out.end(), runs[1], static_cast<Value>(runs[0]));
  return out;
}

}  // namespace

SpacyRules::SpacyRules(const SpacyLanguage& language) : name(language.name), filter_(std::size_t{1} << kFilterBits) {
  std::vector<const SpacyAutomaton*> used = {&kSpacyAutomata[language.prefix], &kSpacyAutomata[language.suffix],
                                             &kSpacyAutomata[language.infix], &kSpacyAutomata[language.infix_again]};
  has_whole = language.whole >= 0;
  if (has_whole) used.push_back(&kSpacyAutomata[language.whole]);
  read_classes(used);
  prefix = expand(*used[0]);
  suffix = expand(*used[1]);
  infix = expand(*used[2]);
  infix_again = expand(*used[3]);
  if (has_whole) whole = expand(*used[4]);

  std::vector<uint16_t> letters;
  for (uint32_t c = 'A'; c <= 'z'; ++c) {
    if (c <= 'Z' || c >= 'a') letters.push_back(static_cast<uint16_t>(classes(c)));
  }
  plain_ascii = never_cuts(letters);
  for (uint32_t c = 0xC0; c < 0x480; ++c) {
    if ((c < 0x180 || c >= 0x400) && c != 0xD7 && c != 0xF7) letters.push_back(static_cast<uint16_t>(classes(c)));
  }
  plain_pairs = never_cuts(letters);
  std::sort(letters.begin(), letters.end());
  letters.erase(std::unique(letters.begin(), letters.end()), letters.end());
  if (plain_pairs) find_closing(letters);
  for (const Automaton* automaton : {&infix, &infix_again}) {
    for (const uint16_t letter : letters)
      letters_open_infixes = letters_open_infixes || automaton->opening[letter] != 0;
  }

  if (language.shares) {
    for (uint32_t i = 0; i < kSpacySharedCount; ++i) read_exceptions(kSpacyShared[i]);
  }
  for (uint32_t i = 0; i < language.exception_count; ++i) read_exceptions(language.exceptions[i]);
  for (const auto& [chunk, exception] : exceptions) mark(chunk, kException);
  fill_slots();
  nodes.emplace_back();
  for (const auto& [chunk, exception] : exceptions) add_sequence(chunk);
  for (const auto& [token, node] : openings_) {
    if (node == 0) continue;
    mark(token, nodes[node].ends ? kOpening | kAlone : kOpening);
    for (const auto& [second, next] : nodes[node].following) {
      mark(second, kSecond);
      const auto byte = static_cast<unsigned char>(token.front());
      const auto begin = static_cast<unsigned char>(second.front());
      if (token.size() == 1 && byte < 0x80) seconds_[byte][begin >> 6] |= uint64_t{1} << (begin & 63);
    }
  }
}

// Classes of the tables that no automaton in use tells apart, nor a flag, become one.
void SpacyRules::read_classes(const std::vector<const SpacyAutomaton*>& used) {
  std::vector<std::vector<uint16_t>> columns;
  for (const SpacyAutomaton* raw : used) columns.push_back(expand_runs<uint16_t>(raw->columns_of_classes));
  std::map<std::vector<uint16_t>, uint16_t> numbers;
  std::vector<uint16_t> number_of(kSpacyClasses);
  for (uint32_t c = 0; c < kSpacyClasses; ++c) {
    std::vector<uint16_t> key = {kSpacyFlags[c]};
    for (const auto& column : columns) key.push_back(column[c]);
    const auto [found, is_new] = numbers.try_emplace(std::move(key), static_cast<uint16_t>(numbers.size()));
    number_of[c] = found->second;
    if (is_new) {
      classes.flags.push_back(kSpacyFlags[c]);
      classes.members.push_back(static_cast<uint16_t>(c));
    }
  }
  classes.count = static_cast<uint32_t>(numbers.size());
  classes.near.resize(0x10000);
  for (uint32_t i = 0; i < kSpacyStretchCount; ++i) {
    const SpacyStretch stretch = {kSpacyStretches[i].first, number_of[kSpacyStretches[i].number]};
    const uint32_t next = i + 1 < kSpacyStretchCount ? kSpacyStretches[i + 1].first : 0x110000;
    for (uint32_t code = stretch.first; code < std::min(next, 0x10000u); ++code) classes.near[code] = stretch.number;
    if (next > 0x10000) {
      const uint32_t first = std::max(stretch.first, 0x10000u);
      if (classes.far.empty() || classes.far.back().number != stretch.number) {
        classes.far.push_back({first, stretch.number});
      }
    }
  }
}

Automaton SpacyRules::expand(const SpacyAutomaton& raw) const {
  Automaton out;
  out.width = classes.count + 2;
  out.context = raw.context;
  out.accept.assign(raw.accept, raw.accept + raw.states);
  const auto columns = expand_runs<uint16_t>(raw.columns_of_classes);
  const auto next = expand_runs<uint16_t>(raw.next);
  out.next.resize(std::size_t{raw.states} * out.width);
  for (uint32_t state = 0; state < raw.states; ++state) {
    const uint16_t* from = next.data() + std::size_t{state} * raw.columns;
    uint16_t* to = out.next.data() + std::size_t{state} * out.width;
    for (uint32_t c = 0; c < classes.count; ++c) to[c] = from[columns[classes.members[c]]];
    to[classes.before()] = from[raw.before];
    to[classes.after()] = from[raw.after];
  }
  // What a match may begin with, whatever stands before.
  std::vector<uint32_t> states = {1};
  for (uint32_t i = 0; i < out.context; ++i) {
    std::vector<uint32_t> later;
    for (const uint32_t state : states) {
      for (uint32_t symbol = 0; symbol < out.width; ++symbol) later.push_back(out.step(state, symbol));
    }
    std::sort(later.begin(), later.end());
    later.erase(std::unique(later.begin(), later.end()), later.end());
    states = std::move(later);
  }
  out.opening.resize(classes.count);
  for (uint32_t c = 0; c < classes.count; ++c) {
    for (const uint32_t state : states) out.opening[c] |= out.step(state, c) != 0;
  }
  return out;
}

// Whether a chunk of these letters is one token, exceptions aside.
bool SpacyRules::never_cuts(const std::vector<uint16_t>& letters) const {
  for (const Automaton* automaton : {&prefix, &suffix, &infix}) {
    std::vector<uint8_t> reached(automaton->accept.size());
    std::vector<uint32_t> open = {1};
    reached[1] = 1;
    const auto visit = [&](uint32_t state) {
      if (reached[state] == 0) {
        reached[state] = 1;
        open.push_back(state);
      }
    };
    while (!open.empty()) {
      const uint32_t state = open.back();
      open.pop_back();
      if (automaton->accept[state] >= 0) return false;
      for (const uint16_t letter : letters) visit(automaton->step(state, letter));
      visit(automaton->step(state, classes.before()));
      visit(automaton->step(state, classes.after()));
    }
  }
  return true;
}

// Reads back from a chunk's end: the byte, then letters. It must be found as a suffix of one byte, whatever the
// letters, and neither a prefix nor a whole may reach it.
void SpacyRules::find_closing(const std::vector<uint16_t>& letters) {
  const auto reach = [&](const Automaton& automaton, std::vector<uint32_t> states, bool outside) {
    std::vector<uint8_t> reached(automaton.accept.size());
    for (const uint32_t state : states) reached[state] = 1;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const uint32_t state = states[i];
      const auto visit = [&](uint32_t next) {
        if (reached[next] == 0) {
          reached[next] = 1;
          states.push_back(next);
        }
      };
      for (const uint16_t letter : letters) visit(automaton.step(state, letter));
      if (outside) visit(automaton.step(state, classes.before()));
    }
    return states;
  };
  const auto accepts = [](const Automaton& automaton, uint32_t state) { return automaton.accept[state] >= 0; };
  const std::vector<uint32_t> prefixes = reach(prefix, {1}, false);
  const std::vector<uint32_t> wholes = has_whole ? reach(whole, {1}, false) : std::vector<uint32_t>{};
  const auto reached_by = [&](const Automaton& automaton, const std::vector<uint32_t>& states, uint32_t symbol) {
    return std::any_of(states.begin(), states.end(), [&](uint32_t state) {
      const uint32_t next = automaton.step(state, symbol);
      return accepts(automaton, next) || accepts(automaton, automaton.step(next, classes.after()));
    });
  };
  closed.assign(classes.count, 1);
  for (const char byte : {',', '.', ':', ';', '!', '?', ')'}) {
    const uint32_t symbol = classes(static_cast<unsigned char>(byte));
    if (reached_by(prefix, prefixes, symbol) || reached_by(whole, wholes, symbol)) continue;
    const uint32_t last = suffix.step(1, symbol);
    bool always = true;
    bool only_one = true;
    std::vector<uint8_t> after(classes.count);
    for (const uint16_t letter : letters) {
      const uint32_t state = suffix.step(last, letter);
      after[letter] = suffix.accept[last] == 0 || suffix.accept[state] == 1;
      always = always && after[letter] != 0;
      // Longer suffixes: whatever is accepted must end with this byte alone.
      for (const uint32_t further : reach(suffix, {state}, true)) {
        if (further != state && accepts(suffix, further)) only_one = only_one && after[letter] == 0;
      }
      if (suffix.accept[state] == 0) only_one = false;
    }
    if (!only_one) continue;
    closing[static_cast<std::size_t>(byte)] = always ? kAlways : kAfterSome;
    if (!always) {
      for (uint32_t c = 0; c < classes.count; ++c) closed[c] &= after[c];
    }
  }
}

void SpacyRules::read_exceptions(std::string_view literal) {
  while (!literal.empty()) {
    const std::size_t size = literal.find(kRuleEnd);
    std::string chunk;
    SpacyException exception;
    for (const char c : literal.substr(0, size)) {
      if (c == kTokenEnd) {
        exception.ends.push_back(static_cast<uint8_t>(chunk.size()));
      } else {
        chunk += c;
      }
    }
    exception.ends.push_back(static_cast<uint8_t>(chunk.size()));
    owned_.push_back(std::move(chunk));
    exceptions[owned_.back()] = std::move(exception);
    literal.remove_prefix(size + 1);
  }
}

void SpacyRules::fill_slots() {
  const std::size_t slots = std::bit_ceil(2 * exceptions.size() + 2);
  slots_.resize(slots);
  slot_shift_ = 1 + std::countl_zero(slots);
  taken_.resize(std::size_t{1} << kTakenBits >> 6);
  for (const Exceptions::value_type& rule : exceptions) {
    const std::string_view chunk = rule.first;
    const uint32_t size = uint32_t{1} << std::min<std::size_t>(chunk.size(), 31);
    sizes_by_first_[static_cast<unsigned char>(chunk.front())] |= size;
    sizes_by_last_[static_cast<unsigned char>(chunk.back())] |= size;
    const uint64_t hash = hash_exception(chunk, chunk.data() + chunk.size());
    std::size_t slot = hash >> slot_shift_;
    while (slots_[slot].rule != nullptr) slot = (slot + 1) & (slots - 1);
    slots_[slot] = {hash, &rule};
    taken_[hash >> (64 - kTakenBits) >> 6] |= uint64_t{1} << (hash >> (64 - kTakenBits) & 63);
  }
}

void SpacyRules::mark(std::string_view token, uint8_t kind) {
  longest = std::max(longest, token.size());
  filter_[filter_place(head_of(token.data(), token.size(), token.data() + token.size()), token.size())] |= kind;
}

// An exception that has affixes is looked for again among the tokens of the whole text, as the tokens that the affixes
// alone make of it.
void SpacyRules::add_sequence(std::string_view chunk) {
  const char* const begin = chunk.data();
  const char* const end = begin + chunk.size();
  if (chunk.find_first_not_of(" \t\n") == std::string_view::npos || chunk == "\u00A0") return;
  std::vector<std::string> tokens;
  ChunkCutter cutter(*this);
  std::vector<const char*> ends;
  for (const char* at = begin; at < end;) {
    const char* const stop = std::find(at, end, ' ');
    ends.clear();
    cutter.cut(at, stop, nullptr, ends);
    for (const char* token_end : ends) {
      tokens.emplace_back(at, token_end);
      at = token_end;
    }
    at = stop == end ? end : stop + 1;
  }
  if (!cutter.has_affixes(chunk) && chunk.find(' ') == std::string_view::npos) return;
  longest_sequence = std::max(longest_sequence, tokens.size());
  uint32_t node = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    uint32_t next = follow(node, tokens[i], tokens[i].data() + tokens[i].size());
    if (next == 0) {
      next = static_cast<uint32_t>(nodes.size());
      nodes.emplace_back();
      if (i == 0) {
        owned_.push_back(tokens[i]);
        add_opening({owned_.back(), next});
      } else {
        nodes[node].following.emplace_back(tokens[i], next);
      }
    }
    node = next;
  }
  nodes[node].ends = true;
}

std::size_t SpacyRules::opening_place(std::string_view token, const char* text_end) const {
  const uint64_t head = head_of(token.data(), token.size(), text_end);
  return ((head ^ token.size()) * 0x9E3779B97F4A7C15u >> 32) & (openings_.size() - 1);
}

void SpacyRules::add_opening(Opening opening) {
  if (2 * ++opening_count_ > openings_.size()) {
    std::vector<Opening> old(2 * openings_.size());
    std::swap(old, openings_);
    opening_count_ = 1;
    for (const Opening& one : old) {
      if (one.node != 0) add_opening(one);
    }
  }
  std::size_t place = opening_place(opening.token, opening.token.data() + opening.token.size());
  while (openings_[place].node != 0) place = (place + 1) & (openings_.size() - 1);
  openings_[place] = opening;
}

uint32_t SpacyRules::follow(uint32_t node, std::string_view token, const char* text_end) const {
  if (node == 0) {
    std::size_t place = opening_place(token, text_end);
    while (openings_[place].node != 0 && openings_[place].token != token) place = (place + 1) & (openings_.size() - 1);
    return openings_[place].node;
  }
  for (const auto& [text, next] : nodes[node].following) {
    if (text == token) return next;
  }
  return 0;
}

namespace {

struct Made {
  std::once_flag once;
  std::unique_ptr<const SpacyRules> rules;
};

}  // namespace

const SpacyRules* find_spacy_rules(std::string_view language) {
  static std::vector<Made> made(kSpacyLanguageCount);
  for (uint32_t i = 0; i < kSpacyLanguageCount; ++i) {
    if (kSpacyLanguages[i].name != language) continue;
    std::call_once(made[i].once, [i] { made[i].rules = std::make_unique<const SpacyRules>(kSpacyLanguages[i]); });
    return made[i].rules.get();
  }
  return nullptr;
}

std::vector<std::string_view> spacy_languages() {
  std::vector<std::string_view> names;
  for (uint32_t i = 0; i < kSpacyLanguageCount; ++i) names.push_back(kSpacyLanguages[i].name);
  return names;
}

}  // namespace smolfast::text

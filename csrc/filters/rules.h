// The filters' rules: datatrove 0.10's parameters by its names and with its defaults.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace smolfast::filters {

struct NGramLimit {
  std::size_t n;
  double limit;
};

// A limit of 0 turns a check off, but for n-grams.
struct GopherRepetitionRules {
  double dup_para_frac = 0.3;
  double dup_para_char_frac = 0.2;
  double dup_line_frac = 0.3;
  double dup_line_char_frac = 0.2;
  std::vector<NGramLimit> top_n_grams{{2, 0.2}, {3, 0.18}, {4, 0.16}};
  std::vector<NGramLimit> dup_n_grams{{5, 0.15}, {6, 0.14}, {7, 0.13}, {8, 0.12}, {9, 0.11}, {10, 0.1}};
};

// A limit of 0 turns a check off.
struct GopherQualityRules {
  double min_doc_words = 50;
  double max_doc_words = 100000;
  double min_avg_word_length = 3;
  double max_avg_word_length = 10;
  double max_symbol_word_ratio = 0.1;
  double max_bullet_lines_ratio = 0.9;
  double max_ellipsis_lines_ratio = 0.3;
  double max_non_alpha_words_ratio = 0.8;  // of words with a letter, the least
  double min_stop_words = 2;
  std::vector<std::string> stop_words{"the", "be", "to", "of", "and", "that", "have", "with"};
};

// A limit of -1 turns a check off.
struct C4QualityRules {
  bool remove_citations = true;
  bool filter_no_terminal_punct = true;
  double min_num_sentences = 5;
  double min_words_per_line = 3;
  double max_word_length = 1000;
  bool filter_lorem_ipsum = true;
  bool filter_javascript = true;
  bool filter_curly_bracket = true;
  bool filter_policy = true;
};

struct C4ParagraphsRules {
  double min_paragraph_len = 200;
};

struct C4BadWordsRules {
  std::vector<std::string> words;
  bool flanked = true;  // only between characters that no word holds
};

struct FineWebQualityRules {
  double line_punct_thr = 0.12;
  bool line_punct_exclude_zero = false;
  std::optional<std::string> stop_chars;  // none: all terminal punctuation
  double short_line_thr = 0.67;
  double short_line_length = 30;
  double char_duplicates_ratio = 0.01;
  double new_line_ratio = 0.3;
};

struct SymbolLinesRules {
  std::optional<std::string> symbols_to_remove;  // none: all symbols
  std::string replace_char;
};

using FilterRules = std::variant<GopherRepetitionRules, GopherQualityRules, C4QualityRules, C4ParagraphsRules,
                                 C4BadWordsRules, FineWebQualityRules, SymbolLinesRules>;
using Rules = std::vector<FilterRules>;

}  // namespace smolfast::filters

// A language's rules by name, or an error that says what there is.
#pragma once

#include <string>

#include "base/error.h"
#include "text/spacy_words.h"

namespace smolfast::bindings {

inline const text::SpacyRules& spacy_rules(const std::string& language) {
  const text::SpacyRules* const rules = text::find_spacy_rules(language);
  if (rules != nullptr) return *rules;
  std::string all;
  for (const std::string_view name : text::spacy_languages()) {
    if (!all.empty()) all += ", ";
    all += name;
  }
  throw Error("language '" + language +
              "' has no rules of spaCy here; use xx, which knows no language, or one of: " + all);
}

}  // namespace smolfast::bindings

// Whether a string is a URL, as spaCy's tokenizer says.
#pragma once

#include "text/spacy_automaton.h"

namespace smolfast::text {

// `begin` to `end` holds no white space.
bool is_spacy_url(const SpacyClasses& classes, const char* begin, const char* end);

}  // namespace smolfast::text

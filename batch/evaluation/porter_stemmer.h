// The English suffix stripper that ROUGE counts words by.
//
// It is Porter's algorithm (Program 14.3, 1980) with the deviations that the Python package nltk makes by default
// (nltk.stem.porter, mode NLTK_EXTENSIONS): a pool of irregular forms, shorter rules for four-letter words in -ies and
// -ied, y -> i only after a consonant, and three changes in step 2. rouge_score 0.1.2 stems with that mode, and one
// word stemmed otherwise already changes a published score.
#pragma once

#include <string>
#include <string_view>

namespace lorry {

// `word` holds only a-z and 0-9. Words of one or two letters come back unchanged. Pure; any thread.
std::string StemPorter(std::string_view word);

}  // namespace lorry

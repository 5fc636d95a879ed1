#include "batch/evaluation/porter_stemmer.h"

#include <array>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

namespace lorry {
namespace {

bool EndsWith(std::string_view word, std::string_view suffix) { return word.ends_with(suffix); }

std::string_view Without(std::string_view word, std::string_view suffix) { return word.substr(0, word.size() - suffix.size()); }

bool IsVowelLetter(char c) { return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u'; }

// One flag per letter: true where it counts as a consonant. A y is one unless a consonant stands before it.
std::vector<bool> ConsonantFlags(std::string_view word) {
  std::vector<bool> flags(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    if (IsVowelLetter(word[i])) {
      flags[i] = false;
    } else if (word[i] == 'y') {
      flags[i] = i == 0 || !flags[i - 1];
    } else {
      flags[i] = true;
    }
  }
  return flags;
}

// Porter's m: how often a consonant follows a vowel.
int Measure(std::string_view stem) {
  const std::vector<bool> consonant = ConsonantFlags(stem);
  int count = 0;
  for (size_t i = 1; i < consonant.size(); ++i) count += consonant[i] && !consonant[i - 1];
  return count;
}

bool ContainsVowel(std::string_view stem) {
  for (const bool consonant : ConsonantFlags(stem)) {
    if (!consonant) return true;
  }
  return false;
}

// Porter's *d.
bool EndsInDoubleConsonant(std::string_view word) {
  return word.size() >= 2 && word[word.size() - 1] == word[word.size() - 2] && ConsonantFlags(word).back();
}

// Porter's *o, and the two-letter vowel-consonant that nltk adds.
bool EndsConsonantVowelConsonant(std::string_view word) {
  const std::vector<bool> consonant = ConsonantFlags(word);
  const size_t n = word.size();
  if (n == 2) return !consonant[0] && consonant[1];
  if (n < 3) return false;
  const char last = word[n - 1];
  return consonant[n - 3] && !consonant[n - 2] && consonant[n - 1] && last != 'w' && last != 'x' && last != 'y';
}

struct Rule {
  std::string_view suffix;
  std::string_view replacement;
};

// The first rule whose suffix fits decides: it applies where the stem's measure is above `measure_above`, and no later
// rule is tried.
std::string ApplyRules(std::string_view word, std::initializer_list<Rule> rules, int measure_above) {
  for (const Rule& rule : rules) {
    if (!EndsWith(word, rule.suffix)) continue;
    const std::string_view stem = Without(word, rule.suffix);
    if (Measure(stem) <= measure_above) break;
    return std::string(stem).append(rule.replacement);
  }
  return std::string(word);
}

// Plurals.
std::string Step1a(std::string_view word) {
  if (EndsWith(word, "ies") && word.size() == 4) return std::string(Without(word, "s"));
  if (EndsWith(word, "sses")) return std::string(Without(word, "es"));
  if (EndsWith(word, "ies")) return std::string(Without(word, "es"));
  if (EndsWith(word, "ss")) return std::string(word);
  if (EndsWith(word, "s")) return std::string(Without(word, "s"));
  return std::string(word);
}

// What is put back where -ed or -ing was taken off.
std::string RestoreEnding(std::string_view stem) {
  if (EndsWith(stem, "at") || EndsWith(stem, "bl") || EndsWith(stem, "iz")) return std::string(stem) + "e";
  if (EndsInDoubleConsonant(stem)) {
    const char last = stem.back();
    if (last == 'l' || last == 's' || last == 'z') return std::string(stem);
    return std::string(stem.substr(0, stem.size() - 1));
  }
  if (Measure(stem) == 1 && EndsConsonantVowelConsonant(stem)) return std::string(stem) + "e";
  return std::string(stem);
}

// Past and -ing forms.
std::string Step1b(std::string_view word) {
  if (EndsWith(word, "ied")) return std::string(Without(word, word.size() == 4 ? "d" : "ed"));
  if (EndsWith(word, "eed")) {
    return std::string(Measure(Without(word, "eed")) > 0 ? Without(word, "d") : word);
  }
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (EndsWith(word, suffix) && ContainsVowel(Without(word, suffix))) return RestoreEnding(Without(word, suffix));
  }
  return std::string(word);
}

std::string Step1c(std::string_view word) {
  if (!EndsWith(word, "y")) return std::string(word);
  const std::string_view stem = Without(word, "y");
  if (stem.size() > 1 && ConsonantFlags(stem).back()) return std::string(stem) + "i";
  return std::string(word);
}

std::string Step2(std::string_view word) {
  if (EndsWith(word, "alli") && Measure(Without(word, "alli")) > 0) return Step2(Without(word, "li"));
  // The l of -logi counts as part of the stem, so that "geo" and "theo" behave as "archaeo" does. No suffix of the
  // table below ends in -logi, so that its place at nltk's end of the list may be taken first.
  if (EndsWith(word, "logi")) return std::string(Measure(Without(word, "ogi")) > 0 ? Without(word, "i") : word);
  return ApplyRules(
      word, {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},
             {"alli", "al"},     {"entli", "ent"},   {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
             {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
             {"iviti", "ive"},   {"biliti", "ble"},  {"fulli", "ful"}},
      0);
}

std::string Step3(std::string_view word) {
  return ApplyRules(
      word, {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}}, 0);
}

std::string Step4(std::string_view word) {
  if (EndsWith(word, "ion")) {
    const std::string_view stem = Without(word, "ion");
    const bool drop = Measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't');
    return std::string(drop ? stem : word);
  }
  return ApplyRules(word,
                    {{"al", ""},
                     {"ance", ""},
                     {"ence", ""},
                     {"er", ""},
                     {"ic", ""},
                     {"able", ""},
                     {"ible", ""},
                     {"ant", ""},
                     {"ement", ""},
                     {"ment", ""},
                     {"ent", ""},
                     {"ou", ""},
                     {"ism", ""},
                     {"ate", ""},
                     {"iti", ""},
                     {"ous", ""},
                     {"ive", ""},
                     {"ize", ""}},
                    1);
}

std::string Step5(std::string word) {
  if (EndsWith(word, "e")) {
    const std::string_view stem = Without(word, "e");
    const int measure = Measure(stem);
    if (measure > 1 || (measure == 1 && !EndsConsonantVowelConsonant(stem))) word = std::string(stem);
  }
  if (EndsWith(word, "ll") && Measure(Without(word, "l")) > 1) word.pop_back();
  return word;
}

std::optional<std::string_view> IrregularForm(std::string_view word) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kPool = {{
      {"sky", "sky"},
      {"skies", "sky"},
      {"dying", "die"},
      {"lying", "lie"},
      {"tying", "tie"},
      {"news", "news"},
      {"innings", "inning"},
      {"inning", "inning"},
      {"outings", "outing"},
      {"outing", "outing"},
      {"cannings", "canning"},
      {"canning", "canning"},
      {"howe", "howe"},
      {"proceed", "proceed"},
      {"exceed", "exceed"},
      {"succeed", "succeed"},
  }};
  for (const auto& [form, stem] : kPool) {
    if (form == word) return stem;
  }
  return std::nullopt;
}

}  // namespace

std::string StemPorter(std::string_view word) {
  if (const auto stem = IrregularForm(word)) return std::string(*stem);
  if (word.size() <= 2) return std::string(word);
  return Step5(Step4(Step3(Step2(Step1c(Step1b(Step1a(word)))))));
}

}  // namespace lorry

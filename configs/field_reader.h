// Reads the sections of a checked YAML tree into plain structs and collects every error on the way.
//
// A section's keys are listed once, in a function `template <class V> void Describe(V& visitor, Section& section)` that calls
// `visitor.Field(key, member, rule)` for each. FieldReader is the visitor that fills the members; FieldWriter (field_writer.h)
// writes them as JSON; KeyLister collects the key paths for suggestions. What a description does not list is an unknown key.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/money.h"
#include "base/result.h"
#include "base/units.h"
#include "configs/name_forms.h"
#include "configs/yaml_document.h"

namespace lorry {

// What a value must keep to. Numbers: min <= x <= max, or min < x with `above`, x < max with `below`.
struct FieldRule {
  bool required = false;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above = false;
  bool below = false;
  bool suggest_e4 = false;  // a learning rate of 2 was meant as 2.0e-4
  TextForm form = TextForm::kLine;
  size_t min_items = 0;             // of a list
  std::string_view lone_word = "";  // a word that may stand in place of a list: all-linear
};

// An enum that a section holds has `EnumWords(E)`: its words in the order of its values.
template <class E>
concept WordEnum = std::is_enum_v<E> && requires(E e) { EnumWords(e); };

// A section is a struct with Describe(visitor, section).
template <class S, class V>
concept Described = requires(V& visitor, S& section) { Describe(visitor, section); };

// A section that may also be written as one scalar has `Result<S> ReadShortForm(const YamlNode&, const S&)`: gpus: H100:8.
template <class S>
concept ShortFormed = requires(const YamlNode& value, const S& section) { ReadShortForm(value, section); };

// What all readers of one document share.
struct ReadContext {
  std::string file;
  std::string folder;      // where relative paths start
  bool from_json = false;  // Lorry wrote it: decimals stand in quotes
  std::vector<std::string> all_keys;
  std::vector<Error> errors;
  std::map<std::string, SourcePosition> positions;  // of every value that was given
  std::map<std::string, std::string> origins;       // of values that --set gave

  void Fail(const std::string& key, SourcePosition at, const std::string& origin, std::string message, std::string hint = "");
  // A known key or value that this version does not carry out.
  void FailUnbuilt(const std::string& key, SourcePosition at, const std::string& origin, std::string hint = "");
  // At the value of `key`, or at the nearest section around it that was given.
  void FailAt(const std::string& key, std::string message, std::string hint = "");
  bool Given(const std::string& key) const { return positions.count(key) > 0; }
};

class FieldReader {
 public:
  // `node` may be null: the section was not given, and only its required keys are reported.
  FieldReader(ReadContext& context, const YamlNode* node, std::string path, SourcePosition at);

  void Field(std::string_view key, std::string& out, const FieldRule& rule = {});
  void Field(std::string_view key, int64_t& out, const FieldRule& rule = {});
  void Field(std::string_view key, double& out, const FieldRule& rule = {});
  void Field(std::string_view key, bool& out, const FieldRule& rule = {});
  void Field(std::string_view key, Millis& out, const FieldRule& rule = {});     // "90s", "2h"
  void Field(std::string_view key, Bytes& out, const FieldRule& rule = {});      // "24GB"
  void Field(std::string_view key, Dollars& out, const FieldRule& rule = {});    // >= 0, at most 9 decimals
  void Field(std::string_view key, UnitPrice& out, const FieldRule& rule = {});  // >= 0, at most 9 decimals
  void Field(std::string_view key, Instant& out, const FieldRule& rule = {});    // UTC date or time
  void Field(std::string_view key, std::vector<std::string>& out, const FieldRule& rule = {});
  void Field(std::string_view key, std::map<std::string, std::string>& out, const FieldRule& rule = {});

  // Numbers by key, each within the rule.
  void Field(std::string_view key, std::map<std::string, int64_t>& out, const FieldRule& rule = {});
  void Field(std::string_view key, std::map<std::string, double>& out, const FieldRule& rule = {});
  // Lists of scalars by key; none is empty.
  void Field(std::string_view key, std::map<std::string, std::vector<ScalarText>>& out, const FieldRule& rule = {});

  template <WordEnum E>
  void Field(std::string_view key, E& out, const FieldRule& rule = {}) {
    const auto words = EnumWords(E{});
    const std::optional<size_t> index = Word(key, {words.begin(), words.end()}, rule);
    if (index) out = static_cast<E>(*index);
  }

  template <class T>
  void Field(std::string_view key, std::optional<T>& out, const FieldRule& rule = {}) {
    const YamlNode* value = Look(key);
    if (value == nullptr || value->kind == YamlNode::Kind::kNull) return Known(key);  // null says: not given
    T read = out.value_or(T{});
    const size_t before = context_.errors.size();
    Field(key, read, rule);
    if (context_.errors.size() == before) out = std::move(read);
  }

  template <Described<FieldReader> S>
  void Field(std::string_view key, S& out, const FieldRule& rule = {}) {
    const YamlNode* value = Take(key, rule);
    if constexpr (ShortFormed<S>) {
      if (value != nullptr && (value->kind == YamlNode::Kind::kText || value->kind == YamlNode::Kind::kNumber)) {
        Result<S> read = ReadShortForm(*value, out);
        if (read.ok()) {
          out = std::move(*read);
        } else if (!value->refused) {
          context_.Fail(PathOf(key), value->at, value->origin, read.error().message, read.error().hint);
        }
        return;
      }
    }
    if (value != nullptr && !Expect(PathOf(key), *value, YamlNode::Kind::kMap, "a mapping")) return;
    FieldReader section(context_, value, PathOf(key), value == nullptr ? at_ : PositionOf(key));
    Describe(section, out);
    section.Finish();
  }

  // A list of sections.
  template <Described<FieldReader> S>
  void Field(std::string_view key, std::vector<S>& out, const FieldRule& rule = {}) {
    const YamlNode* value = Take(key, rule);
    if (value == nullptr || !Expect(PathOf(key), *value, YamlNode::Kind::kList, "a list of mappings")) return;
    out.clear();
    for (size_t i = 0; i < value->items.size(); ++i) {
      const YamlNode& item = *value->items[i];
      const std::string path = PathOf(key) + "[" + std::to_string(i) + "]";
      context_.positions[path] = item.at;
      if (item.kind != YamlNode::Kind::kMap) {
        context_.Fail(path, item.at, item.origin, "expected a mapping");
        continue;
      }
      FieldReader section(context_, &item, path, item.at);
      Describe(section, out.emplace_back());
      section.Finish();
    }
  }

  // Known, and not in this version: refused where it is given.
  void Unbuilt(std::string_view key);
  // Known, read elsewhere ("kind").
  void Known(std::string_view key) { known_.emplace_back(key); }

  // The node of a key whose reading is special (gpus), marked as known; null where it is not given.
  const YamlNode* Take(std::string_view key, const FieldRule& rule = {});
  std::string PathOf(std::string_view key) const;
  ReadContext& context() { return context_; }

  // Reports every key that no Field() named. Call once, last.
  void Finish();

 private:
  const YamlNode* Look(std::string_view key) const;
  SourcePosition PositionOf(std::string_view key) const;
  // True where the value is of this kind; else says so, unless it was refused already.
  bool Expect(const std::string& path, const YamlNode& value, YamlNode::Kind kind, std::string_view what);
  std::optional<size_t> Word(std::string_view key, const std::vector<std::string_view>& words, const FieldRule& rule);
  std::optional<std::string> TextOf(const std::string& path, const YamlNode& value, const FieldRule& rule);
  template <class Number>
  void Numbers(std::string_view key, std::map<std::string, Number>& out, const FieldRule& rule);
  bool InRange(const std::string& path, const YamlNode& value, double number, const FieldRule& rule, bool whole);
  template <class T, class Parse>
  void Unit(std::string_view key, T& out, const FieldRule& rule, std::string_view what, Parse parse);

  ReadContext& context_;
  const YamlNode* node_;
  std::string path_;
  SourcePosition at_;
  std::vector<std::string> known_;
};

// The key paths of a description, for suggestions.
class KeyLister {
 public:
  explicit KeyLister(std::vector<std::string>& keys, std::string path = "") : keys_(keys), path_(std::move(path)) {}

  template <class T>
  void Field(std::string_view key, T& value, const FieldRule& = {}) {
    Known(key);
    Below(key, value);
  }
  void Unbuilt(std::string_view key) { Known(key); }
  void Known(std::string_view key) { keys_.push_back(path_.empty() ? std::string(key) : path_ + "." + std::string(key)); }

 private:
  template <class T>
  void Below(std::string_view, T&) {}
  template <Described<KeyLister> S>
  void Below(std::string_view key, S& section) {
    KeyLister below(keys_, path_.empty() ? std::string(key) : path_ + "." + std::string(key));
    Describe(below, section);
  }
  template <Described<KeyLister> S>
  void Below(std::string_view key, std::optional<S>&) {
    S section;
    Below(key, section);
  }

  std::vector<std::string>& keys_;
  std::string path_;
};

}  // namespace lorry

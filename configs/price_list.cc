#include "configs/price_list.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/files.h"
#include "configs/field_reader.h"
#include "configs/job_file.h"

namespace lorry {

template <class V>
void Describe(V& v, ListedPrice& price) {
  v.Field("device", price.device_kind, {.required = true, .form = TextForm::kName});
  v.Field("category", price.category);
  v.Field("usd_per_hour", price.usd_per_hour, {.required = true});
  v.Field("from", price.from, {.required = true});
  v.Field("until", price.until);
  v.Field("source", price.source);
}

namespace {

struct PriceFile {
  std::vector<ListedPrice> prices;
};

template <class V>
void Describe(V& v, PriceFile& file) {
  v.Field("prices", file.prices, {.required = true});
}

constexpr std::array<std::string_view, 4> kCategories = {"standard", "spot", "committed", "owned"};

// A price without `until` holds until the next one of its device and category begins; one with `until` may not reach into it.
void CheckPeriods(const std::vector<ListedPrice>& prices, ReadContext& context) {
  for (size_t i = 0; i < prices.size(); ++i) {
    const ListedPrice& price = prices[i];
    const std::string at = fmt::format("prices[{}]", i);
    if (std::find(kCategories.begin(), kCategories.end(), price.category) == kCategories.end()) {
      context.FailAt(at + ".category", fmt::format("is none of {}", fmt::join(kCategories, " | ")));
    }
    if (price.until && *price.until <= price.from) context.FailAt(at + ".until", "is not after from");
    for (size_t j = 0; j < i; ++j) {
      const ListedPrice& other = prices[j];
      if (other.device_kind != price.device_kind || other.category != price.category) continue;
      const ListedPrice& earlier = other.from < price.from ? other : price;
      const ListedPrice& later = other.from < price.from ? price : other;
      if (earlier.from == later.from) {
        context.FailAt(at + ".from", fmt::format("the price on line {} begins at the same time", other.line));
      } else if (earlier.until && *earlier.until > later.from) {
        context.FailAt(at + ".from", fmt::format("overlaps the price on line {}", other.line));
      }
    }
  }
}

}  // namespace

Result<std::vector<ListedPrice>> ParsePriceList(std::string_view text, const std::string& file) {
  YamlDocument document = ReadYaml(text, file);
  ReadContext context;
  context.file = file;
  context.errors = std::move(document.problems);
  PriceFile read;
  if (document.root != nullptr && document.root->kind != YamlNode::Kind::kMap) {
    context.Fail("", document.root->at, "", "expected a mapping with the key prices");
  } else if (document.root != nullptr) {
    PriceFile blank;
    KeyLister lister(context.all_keys);
    Describe(lister, blank);
    FieldReader reader(context, document.root.get(), "", {1, 1});
    Describe(reader, read);
    reader.Finish();
    for (size_t i = 0; i < read.prices.size(); ++i) read.prices[i].line = context.positions[fmt::format("prices[{}]", i)].line;
    if (context.errors.empty()) CheckPeriods(read.prices, context);
  }
  if (!context.errors.empty()) return AsOneError(context.errors);
  return std::move(read.prices);
}

Result<std::vector<ListedPrice>> LoadPriceList(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxYamlBytes));
  return ParsePriceList(text, path);
}

}  // namespace lorry

// Building blocks of the pages: escaping, the frame around every page, tables. Pure functions from text to text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lorry {

// Text as it may stand in HTML, in an element or a quoted attribute.
std::string Html(std::string_view text);

// A whole page. `section` marks the entry of the menu: "runs", "cost", "registry", "workers", "sign-in".
std::string Page(std::string_view title, std::string_view section, std::string_view body);

// A table that scrolls sideways on a phone. Cells are HTML; `numeric` columns are set right.
class HtmlTable {
 public:
  explicit HtmlTable(std::vector<std::string> heads, std::vector<size_t> numeric = {});
  void Row(const std::vector<std::string>& cells);
  bool empty() const { return rows_ == 0; }
  std::string str() const;

 private:
  std::vector<std::string> heads_;
  std::vector<size_t> numeric_;
  std::string body_;
  size_t rows_ = 0;
};

std::string Link(std::string_view address, std::string_view text);
// A run's state as a coloured word.
std::string StateBadge(std::string_view state);
// "done of total" as a bar with its numbers; empty where nothing is known.
std::string ProgressBar(uint64_t done, uint64_t total);

}  // namespace lorry

#include "web/html.h"

#include <algorithm>

#include "base/text.h"

namespace lorry {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--ink:#1c2024;--soft:#60646c;--line:#d9d9e0;--page:#fcfcfd;--card:#fff;--accent:#0b68cb;
--good:#18794e;--bad:#ce2c31;--busy:#0b68cb;--wait:#8a6100}
@media (prefers-color-scheme:dark){:root{--ink:#edeef0;--soft:#b0b4ba;--line:#363a3f;--page:#111113;--card:#18191b;--accent:#70b8ff;
--good:#3dd68c;--bad:#ff9592;--busy:#70b8ff;--wait:#ffc53d}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header{border-bottom:1px solid var(--line);background:var(--card)}nav{max-width:72rem;margin:auto;padding:.6rem 1rem;display:flex;gap:1.2rem;
flex-wrap:wrap;align-items:baseline}nav b{font-size:1.1rem}nav a{color:var(--soft);text-decoration:none}nav a.here{color:var(--ink);font-weight:600}
main{max-width:72rem;margin:auto;padding:1rem}h1{font-size:1.4rem;margin:.6rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
a{color:var(--accent)}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}th{color:var(--soft);font-weight:500;text-align:left}
td a,.state{white-space:nowrap}td,th{padding:.45rem .7rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}
.soft{color:var(--soft)}.state{font-weight:600}.succeeded{color:var(--good)}.failed,.expired{color:var(--bad)}.running{color:var(--busy)}
.queued,.paused,.cancelled{color:var(--wait)}pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8rem;overflow:auto;
max-height:28rem;font-size:.82rem}.bar{display:inline-block;width:6rem;height:.5rem;background:var(--line);border-radius:3px;vertical-align:middle}
.bar i{display:block;height:100%;background:var(--busy);border-radius:3px}.chart{position:relative;height:18rem;max-width:52rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:.6rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
)css";

struct MenuEntry {
  std::string_view section, address, text;
};
constexpr MenuEntry kMenu[] = {{"runs", "/", "Runs"},
                               {"registry", "/registry", "Registry"},
                               {"cost", "/cost", "Costs"},
                               {"workers", "/workers", "Workers"},
                               {"sign-in", "/sign-in", "Sign in"}};

}  // namespace

std::string Html(std::string_view text) { return EscapeHtml(text); }

std::string Page(std::string_view title, std::string_view section, std::string_view body) {
  std::string menu;
  for (const MenuEntry& entry : kMenu) {
    menu += fmt::format("<a href=\"{}\"{}>{}</a>", entry.address, entry.section == section ? " class=\"here\"" : "", entry.text);
  }
  return fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">"
      "<link rel=\"icon\" href=\"data:,\"><title>{} - "
      "Lorry</title><style>{}</style></head><body><header><nav><b>Lorry</b>{}</nav></header><main>{}</main></body></html>\n",
      Html(title), kStyle, menu, body);
}

HtmlTable::HtmlTable(std::vector<std::string> heads, std::vector<size_t> numeric)
    : heads_(std::move(heads)), numeric_(std::move(numeric)) {}

void HtmlTable::Row(const std::vector<std::string>& cells) {
  body_ += "<tr>";
  for (size_t i = 0; i < cells.size(); ++i) {
    const bool number = std::find(numeric_.begin(), numeric_.end(), i) != numeric_.end();
    body_ += (number ? "<td class=\"n\">" : "<td>") + cells[i] + "</td>";
  }
  body_ += "</tr>";
  ++rows_;
}

std::string HtmlTable::str() const {
  std::string head;
  for (size_t i = 0; i < heads_.size(); ++i) {
    const bool number = std::find(numeric_.begin(), numeric_.end(), i) != numeric_.end();
    head += (number ? "<th class=\"n\">" : "<th>") + Html(heads_[i]) + "</th>";
  }
  return "<div class=\"scroll\"><table><thead><tr>" + head + "</tr></thead><tbody>" + body_ + "</tbody></table></div>";
}

std::string Link(std::string_view address, std::string_view text) {
  return fmt::format("<a href=\"{}\">{}</a>", Html(address), Html(text));
}

std::string StateBadge(std::string_view state) {
  return fmt::format("<span class=\"state {}\">{}</span>", Html(state), Html(state));
}

std::string ProgressBar(uint64_t done, uint64_t total) {
  if (total == 0) return done == 0 ? "" : fmt::format("{}", done);
  return fmt::format("<span class=\"bar\"><i style=\"width:{}%\"></i></span> {}/{}", std::min<uint64_t>(100, done * 100 / total),
                     done, total);
}

}  // namespace lorry

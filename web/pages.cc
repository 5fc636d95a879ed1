// The pages themselves: what a person sees at /, /runs/RUN, /cost, /registry and /workers.
#include "base/json.h"
#include "base/money.h"
#include "scheduler/log_desk.h"
#include "web/html.h"
#include "web/site.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr uint32_t kLogTailBytes = 16 << 10;

std::string TextOf(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

// "2026-11-21T16:40:21.123Z" -> "2026-11-21 16:40:21"
std::string ShortTime(const std::string& utc) { return utc.size() < 19 ? utc : utc.substr(0, 10) + " " + utc.substr(11, 8); }
std::string ShortTime(Instant at) { return at.millis() == 0 ? "" : ShortTime(FormatUtc(at)); }

// Dollars as reports show them: six decimals.
std::string SixDecimals(const std::string& usd) {
  const auto amount = ParseDollars(usd);
  return amount.ok() ? "$" + ToRoundedString(*amount, 6) : usd;
}

std::string DeviceHours(int64_t device_ms) { return fmt::format("{:.4f}", static_cast<double>(device_ms) / 3.6e6); }

// Draws loss over steps, or rows a minute; with the colours of the page. No data, no chart. While the run is live, what stands
// around the chart is fetched again every two seconds and put in place, so that nobody loses the place that he reads.
constexpr std::string_view kChartScript = R"js(
<script src="/static/chart.js"></script><script>
const css=getComputedStyle(document.documentElement),ink=css.getPropertyValue('--soft'),line=css.getPropertyValue('--line');let chart;
async function draw(){const text=await(await fetch('/v1/runs/'+RUN+'/metrics')).text();const loss={},held={},rows=[];
for(const raw of text.split('\n')){if(!raw)continue;let m;try{m=JSON.parse(raw)}catch{continue}
const to=m.t==='step'?loss:m.t==='eval'?held:null;if(to)(to[m.point??'']??=[]).push({x:m.step,y:m.loss});
else if(m.t==='progress'&&m.rows_per_minute!==undefined)rows.push({x:m.done,y:m.rows_per_minute});}
const sets=[];const colour=(p,own)=>p===''?css.getPropertyValue(own):`hsl(${(p*137.5+210)%360} 65% 50%)`;
for(const p in loss)sets.push({label:p===''?'training loss':'point '+p,data:loss[p],borderColor:colour(p,'--accent'),pointRadius:0,borderWidth:1.5});
for(const p in held)sets.push({label:p===''?'held-out loss':'point '+p+' held out',data:held[p],borderColor:colour(p,'--good'),pointRadius:3,
borderWidth:1.5,borderDash:p===''?[]:[5,4]});
if(rows.length)sets.push({label:'rows a minute',data:rows,borderColor:css.getPropertyValue('--accent'),pointRadius:0,borderWidth:1.5});
document.getElementById('curve').hidden=!sets.length;if(!sets.length)return;
if(chart){chart.data.datasets=sets;chart.update('none');return}
chart=new Chart(document.getElementById('chart'),{type:'line',data:{datasets:sets},options:{animation:false,maintainAspectRatio:false,parsing:false,
scales:{x:{type:'linear',title:{display:true,text:rows.length?'rows done':'step',color:ink},ticks:{color:ink},grid:{color:line}},
y:{title:{display:true,text:rows.length?'rows a minute':'loss (nats a token)',color:ink},ticks:{color:ink},grid:{color:line}}},
plugins:{legend:{labels:{color:ink,usePointStyle:true,pointStyle:'line'}}}}})}
async function again(){try{const page=new DOMParser().parseFromString(await(await fetch(location.href)).text(),'text/html');
for(const id of ['facts','rest'])document.getElementById(id).replaceWith(page.getElementById(id));await draw()}catch{}watch()}
function watch(){if(document.getElementById('facts').dataset.live==='true')setTimeout(again,2000)}
draw();watch();
</script>)js";

std::string CostTable(const json& report, const std::string& by) {
  const json rows = report.value("rows", json::array());
  std::vector<std::string> keys;  // that the rows have, in this order
  for (const char* key : {"run", "name", "attempt", "team", "project", "model", "device", "kind", "class", "month"}) {
    if (!rows.empty() && rows[0].contains(key)) keys.emplace_back(key);
  }
  std::vector<std::string> heads = keys.empty() ? std::vector<std::string>{by} : keys;
  heads.insert(heads.end(), {"device-hours", "dollars"});
  HtmlTable table(heads, {heads.size() - 2, heads.size() - 1});
  for (const json& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& key : keys) {
      const std::string text = TextOf(row, key.c_str());
      cells.push_back(key == "run" && by == "run" ? Link("/runs/" + text, text) : Html(text.empty() ? "(none)" : text));
    }
    cells.push_back(DeviceHours(row.value("device_ms", int64_t{0})));
    cells.push_back(SixDecimals(TextOf(row, "usd")));
    table.Row(cells);
  }
  if (table.empty()) return "<p>Nothing has been billed here yet.</p>";
  return table.str() + fmt::format("<p>Total {} <span class=\"soft\">({} exactly)</span></p>",
                                   SixDecimals(TextOf(report, "total_usd")), Html(TextOf(report, "total_usd")));
}

std::string RunFacts(const json& run) {
  const std::string state = TextOf(run, "state");
  const bool live = state == "running" || state == "queued";
  std::string facts = fmt::format("<dl id=\"facts\" data-live=\"{}\">", live);
  const auto fact = [&](const char* label, const std::string& html) {
    if (!html.empty()) facts += fmt::format("<dt>{}</dt><dd>{}</dd>", label, html);
  };
  fact("state", StateBadge(state) + (TextOf(run, "reason").empty() ? "" : " (" + Html(TextOf(run, "reason")) + ")"));
  fact("progress", ProgressBar(run.value("done", uint64_t{0}), run.value("total", uint64_t{0})));
  fact("detail", Html(TextOf(run, "detail")));
  fact("name", Html(TextOf(run, "name")));
  fact("project", Html(TextOf(run, "project")));
  fact("kind", Html(TextOf(run, "kind")));
  fact("model", Html(TextOf(run, "model")));
  for (const char* moment : {"submitted", "started", "ended"}) {
    if (const std::string at = ShortTime(TextOf(run, moment)); !at.empty()) fact(moment, at + " UTC");
  }
  return facts + "</dl>";
}

std::string AttemptsTable(const json& run) {
  HtmlTable table({"attempt", "worker", "devices", "granted (UTC)", "ended (UTC)", "reason"});
  for (const json& attempt : run.value("attempts", json::array())) {
    std::string devices;
    for (const json& device : attempt.value("devices", json::array())) {
      devices += (devices.empty() ? "" : ", ") + device.get<std::string>();
    }
    table.Row({TextOf(attempt, "attempt"), Html(TextOf(attempt, "worker")), Html(devices), ShortTime(TextOf(attempt, "granted")),
               ShortTime(TextOf(attempt, "ended")), Html(TextOf(attempt, "reason"))});
  }
  return table.empty() ? "" : "<h2>Attempts</h2>" + table.str();
}

}  // namespace

HttpResponse Site::RunsPage() const {
  const auto list = scheduler_->Call<wire::RunList>(wire::ListRuns{.all = true, .project = "", .limit = 200});
  if (!list.ok()) return ErrorResponse(list.error(), false);
  HtmlTable table({"run", "state", "name", "progress", "kind", "project", "submitted (UTC)"});
  for (const wire::RunSummary& s : list->runs) {
    // "succeeded" needs no reason beside it.
    const std::string reason = s.reason.empty() || s.reason == s.state || s.reason == "done" ? "" : s.reason;
    table.Row({Link("/runs/" + s.run.str(), s.run.str()),
               StateBadge(s.state) + (reason.empty() ? "" : " <span class=\"soft\">" + Html(reason) + "</span>"), Html(s.name),
               ProgressBar(s.done, s.total), Html(s.kind), Html(s.project.str()), ShortTime(s.submitted)});
  }
  return HtmlResponse(
      Page("Runs", "runs",
           "<h1>Runs</h1>" + (table.empty() ? "<p>No run yet. <code>lorry submit JOB.yaml</code> makes one.</p>" : table.str())));
}

HttpResponse Site::RunPage(const std::string& id, const Access& access) const {
  const auto shown = Show(id);
  if (!shown.ok()) return ErrorResponse(shown.error(), false);
  const auto run = ParseJson(*shown);
  if (!run.ok()) return ErrorResponse(run.error(), false);
  std::string body = fmt::format("<h1>{}</h1>", Html(id)) + RunFacts(*run);
  if (access.MayReadJobContent()) {
    body += "<div id=\"curve\" hidden><h2>Curve</h2><div class=\"chart\"><canvas id=\"chart\"></canvas></div></div>";
    body += fmt::format("<script>const RUN={};</script>", json(id).dump());
    body += kChartScript;
  }
  body += "<div id=\"rest\">" + AttemptsTable(*run);
  if (access.MayReadCosts()) {
    for (const char* by : {"class", "attempt"}) {
      if (const auto cost = Ask("cost.report", json{{"by", by}, {"run", id}}.dump()); cost.ok()) {
        body += fmt::format("<h2>Cost by {}</h2>", by) + CostTable(json::parse(*cost), by);
      }
    }
  }
  if (access.MayReadJobContent()) {
    const json attempts = run->value("attempts", json::array());
    const AttemptNumber last(attempts.empty() ? 0 : attempts.back().value("attempt", uint64_t{0}));
    const std::string tail = LogDesk(scheduler_->home()).Tail(RunId(id), last, 0, kLogTailBytes);
    if (!tail.empty()) body += fmt::format("<h2>Log of attempt {}, rank 0</h2><pre>{}</pre>", last, Html(tail));
    body += "<h2>Job</h2><pre>" + Html(run->value("job", json()).dump(2)) + "</pre>";
  }
  return HtmlResponse(Page(id, "runs", body + "</div>"));
}

HttpResponse Site::CostPage(const HttpRequest& request) const {
  std::string by = request.Parameter("by");
  if (by.empty()) by = "run";
  json query{{"by", by}};
  for (const char* name : {"from", "to"}) {
    if (const std::string value = request.Parameter(name); !value.empty()) query[name] = value;
  }
  const auto cost = Ask("cost.report", query.dump());
  if (!cost.ok()) return ErrorResponse(cost.error(), false);
  std::string menu;
  for (const char* group : {"run", "attempt", "team", "project", "model", "device", "kind", "class", "month"}) {
    menu += by == group ? fmt::format("<b>{}</b> ", group) : Link(fmt::format("/cost?by={}", group), group) + " ";
  }
  return HtmlResponse(Page("Costs", "cost", "<h1>Costs</h1><p>by " + menu + "</p>" + CostTable(json::parse(*cost), by)));
}

HttpResponse Site::RegistryPage(const Access& access) const {
  std::string body = "<h1>Registry</h1>";
  for (const char* kind : {"model", "adapter"}) {
    const auto names = NamesFor(access, kind);
    if (!names.ok()) return ErrorResponse(names.error(), false);
    HtmlTable table({"name", "versions", "aliases"}, {1});
    for (const json& item : names->at("items")) {
      std::string aliases;
      const json named = item.value("aliases", json::object());
      for (const auto& [alias, version] : named.items()) {
        aliases +=
            (aliases.empty() ? "" : ", ") + alias + " = " + (version.is_string() ? version.get<std::string>() : version.dump());
      }
      const std::string name = TextOf(item, "name");
      const json versions = item.value("versions", json());
      table.Row({Link("/registry/" + name, name),
                 versions.is_array() ? std::to_string(versions.size()) : TextOf(item, "versions"), Html(aliases)});
    }
    body += fmt::format("<h2>{}s</h2>", kind) + (table.empty() ? "<p class=\"soft\">none yet</p>" : table.str());
  }
  return HtmlResponse(Page("Registry", "registry", body));
}

HttpResponse Site::RegistryNamePage(const HttpRequest& request, const Access& access) const {
  const std::string name = request.segments[1] + "/" + request.segments[2];
  auto shown = NameFor(access, "adapter", name);
  if (!shown.ok()) shown = NameFor(access, "model", name);
  if (!shown.ok() && !access.known && shown.error().code == ErrorCode::kNotFound) {
    return sign_in_->Demand(request, "There is no such name, or it is private.");
  }
  if (!shown.ok()) return ErrorResponse(shown.error(), false);
  const json item = *std::move(shown);
  std::string body = fmt::format("<h1>{}</h1>", Html(name));
  HtmlTable table({"version", "digest", "base", "run", "created (UTC)", "dollars"}, {5});
  for (const json& version : item.value("versions", json::array())) {
    const std::string run = TextOf(version, "run");
    table.Row({Html(TextOf(version, "version")), Html(TextOf(version, "digest").substr(0, 16)), Html(TextOf(version, "base")),
               run.empty() ? "" : Link("/runs/" + run, run), ShortTime(TextOf(version, "created")),
               Html(TextOf(version, "cost_usd"))});
  }
  body += table.str() + "<h2>Aliases</h2>";
  HtmlTable aliases({"alias", "version"});
  const json named = item.value("aliases", json::object());
  for (const auto& [alias, version] : named.items()) {
    aliases.Row({Html(alias), Html(version.is_string() ? version.get<std::string>() : version.dump())});
  }
  body += aliases.empty() ? "<p class=\"soft\">none</p>" : aliases.str();
  body += fmt::format(
      "<h2>Use it</h2><pre>HF_ENDPOINT={} python3 -c \"from huggingface_hub import snapshot_download; "
      "print(snapshot_download('{}'))\"</pre>",
      Html(request.Origin()), Html(name));
  return HtmlResponse(Page(name, "registry", body));
}

HttpResponse Site::WorkersPage() const {
  const auto list = Ask("worker.list", "{}");
  if (!list.ok()) return ErrorResponse(list.error(), false);
  std::string body = "<h1>Workers</h1>";
  HtmlTable table({"worker", "state", "device", "kind", "use", "run"});
  const json parsed = json::parse(*list);
  for (const json& worker : parsed.value("workers", json::array())) {
    for (const json& device : worker.value("devices", json::array())) {
      const std::string run = TextOf(device, "run");
      table.Row({Html(TextOf(worker, "worker")), Html(TextOf(worker, "state")), Html(TextOf(device, "device")),
                 Html(TextOf(device, "kind")), Html(TextOf(device, "state")), run.empty() ? "" : Link("/runs/" + run, run)});
    }
  }
  return HtmlResponse(Page("Workers", "workers", body + (table.empty() ? "<p>No worker has come yet.</p>" : table.str())));
}

}  // namespace lorry

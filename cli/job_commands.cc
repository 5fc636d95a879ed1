#include <memory>

#include "cli/command_groups.h"
#include "cli/follow.h"
#include "cli/plan.h"
#include "cli/runs.h"
#include "cli/submit.h"

namespace lorry {
namespace {

// A command about one run.
CLI::App& AddRunCommand(CommandSet& set, const std::string& name, const std::string& about,
                        const std::shared_ptr<std::string>& run, std::function<Result<int>(Session&)> action) {
  CLI::App& command = AddCommand(set, set.app, name, about, "lorry " + name + " r-k3v9q2m7x1c4", std::move(action));
  command.add_option("run", *run, "the run's id")->required();
  return command;
}

void AddPlanAndSubmit(CommandSet& set) {
  auto plan_options = std::make_shared<PlanOptions>();
  CLI::App& plan = AddCommand(set, set.app, "plan", "checks a job whole and runs nothing: devices, steps or rows, time, dollars",
                              "lorry plan job.yaml --set training.max_steps=10",
                              [plan_options](Session& session) { return RunPlan(session, *plan_options); });
  plan.add_option("job", plan_options->file, "the job's YAML file")->required();
  plan.add_option("--set", plan_options->overrides, "key=value over the file; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  auto options = std::make_shared<SubmitOptions>();
  CLI::App& submit = AddCommand(set, set.app, "submit", "hands a job to the scheduler and prints the run's id",
                                "lorry submit job.yaml --set training.max_steps=10 --wait",
                                [options](Session& session) { return RunSubmit(session, *options); });
  submit.add_option("job", options->file, "the job's YAML file")->required();
  submit.add_option("--set", options->overrides, "key=value over the file; may be repeated")->take_all()->allow_extra_args(false);
  submit.add_flag("--wait", options->wait, "follow the run until it ends; status 1 where it did not succeed");
  submit.add_option("--id", options->id, "the same id and job again is the same run");
}

void AddStops(CommandSet& set) {
  auto run = std::make_shared<std::string>();
  auto now = std::make_shared<bool>(false);
  AddRunCommand(set, "cancel", "ends a run; it writes a checkpoint first", run, [run, now](Session& session) {
    return RunCancel(session, RunId(*run), *now);
  }).add_flag("--now", *now, "without a checkpoint");
  AddRunCommand(set, "pause", "takes a run's devices away after a checkpoint", run,
                [run](Session& session) { return RunPause(session, RunId(*run)); });
  AddRunCommand(set, "resume", "lets a paused run go on", run,
                [run](Session& session) { return RunResume(session, RunId(*run)); });
}

}  // namespace

void AddJobCommands(CommandSet& set) {
  AddPlanAndSubmit(set);
  auto all = std::make_shared<bool>(false);
  auto project = std::make_shared<std::string>();
  CLI::App& ps = AddCommand(set, set.app, "ps", "runs that wait, run, or ended in the last day", "lorry ps --all --project docs",
                            [all, project](Session& session) { return RunPs(session, *all, *project); });
  ps.add_flag("--all", *all, "also those that ended before");
  ps.add_option("--project", *project, "only this project's");
  auto run = std::make_shared<std::string>();
  AddRunCommand(set, "show", "one run: job, attempts, outputs", run,
                [run](Session& session) { return RunShow(session, RunId(*run)); });
  AddRunCommand(set, "watch", "a run live until it ends: loss or rows, rate, dollars", run,
                [run](Session& session) { return RunWatch(session, RunId(*run)); });
  AddRunCommand(set, "explain", "why a run waits, or why it ended", run,
                [run](Session& session) { return RunExplain(session, RunId(*run)); });
  auto log_options = std::make_shared<LogOptions>();
  CLI::App& logs = AddRunCommand(set, "logs", "the log of a rank", run, [run, log_options](Session& session) {
    log_options->run = RunId(*run);
    return RunLogs(session, *log_options);
  });
  logs.add_flag("-f,--follow", log_options->follow, "go on until the run ends");
  logs.add_option("--rank", log_options->rank, "which rank (default 0)")->check(CLI::Range(0, 65535));
  AddStops(set);
  auto folder = std::make_shared<std::string>();
  AddRunCommand(set, "pull", "a run's outputs into a folder", run,
                [run, folder](Session& session) { return RunPull(session, RunId(*run), *folder); })
      .add_option("--to", *folder, "the folder")
      ->required();
}

}  // namespace lorry

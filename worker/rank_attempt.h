// An attempt of a job that Lorry's own ranks carry out (finetune, batch): stage the inputs, start the ranks, pass on what they
// say, store what they leave. An attempt that ends before its work is done holds its end back until its checkpoints are with the
// scheduler, or the next attempt would begin before the last of them; at most as long as a stop gives it.
//
// The road: fetch missing blobs -> ask for the rows that are committed -> link the inputs, write task.json, start -> read lines
// until all processes have ended -> hash the outputs -> send their blobs -> Finished. Where worker and scheduler share the home
// nothing is fetched or sent: the blobs are in place.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/process.h"
#include "base/task_contract.h"
#include "configs/job_spec.h"
#include "worker/attempt.h"
#include "worker/held_numbers.h"
#include "worker/held_processes.h"
#include "worker/task_socket.h"

namespace lorry {

class RankAttempt : public Attempt {
 public:
  RankAttempt(wire::Grant grant, const std::vector<MeteredDevice>& devices, const AttemptSurroundings& around)
      : Attempt(std::move(grant), devices, around), question_(around.outbox) {}

  void Begin() override;
  void Watch(Poller* poller, uint64_t name) const override;
  void OnReadable() override;
  void OnChildExit() override;
  bool OnMessage(const wire::Message& message) override;
  void OnTick(int64_t monotonic_ms) override;

 protected:
  void AskToEnd(bool now) override;
  void KillAll() override;

 private:
  struct Started {
    ChildProcess process;
    std::optional<ProcessEnd> end;
  };

  // The road, one step a function; each finishes the attempt where it fails or a stop came meanwhile.
  bool StopsHere();
  void FetchInputs();
  void AskForRows(RowIndex from);
  void TakeRows(const wire::RowPage& page);
  void Stage();
  void Start(std::map<std::string, std::string> inputs);
  Status WriteTask(std::map<std::string, std::string> inputs);
  Status StartProcesses();
  void OnAllEnded();
  void FinishWhenSaid(int64_t monotonic_ms);
  void StoreOutputs();
  void SendOutputs(std::vector<wire::Output> outputs);

  // Lines of the ranks, one function for each that does more than a few words' work.
  void OnLine(const RankLine& line);
  void OnHello(int rank);
  void OnPhase(int rank, const nlohmann::json& line);
  void OnCheckpoint(const nlohmann::json& line);
  void OnRow(const nlohmann::json& line);
  void OnRowsWanted(int rank, const nlohmann::json& line);
  void OnOutput(const nlohmann::json& line);
  void OnFault(const nlohmann::json& line);
  void OnLog(int rank, const nlohmann::json& line);
  void SayRows();
  void AskForMoreRows();
  void OnRowLease(const wire::RowLease& lease);
  void SayProgress();

  std::string ResumeFrom() const;
  EndVerdict Verdict() const;

  JobSpec job_;
  nlohmann::json job_json_;
  nlohmann::json shards_ = nlohmann::json::array();
  std::vector<wire::RowReport> committed_rows_;
  uint64_t row_page_ = 0;   // the ListRows that waits for its answer
  LeaseQuestion question_;  // for more rows

  std::unique_ptr<TaskSocket> socket_;
  std::optional<HeldProcesses> held_;
  std::vector<Started> processes_;
  std::map<pid_t, uint64_t> ranks_;  // those that said hello, with the start times that make their numbers theirs
  uint64_t kills_before_ = 0;

  std::optional<ReportedFault> fault_;
  bool done_ = false;
  std::vector<std::pair<std::string, std::string>> outputs_;  // name, path
  std::string facts_json_ = "{}";

  std::deque<std::pair<int, uint32_t>> rows_wanted_;  // rank, count: answered one after the other
  uint64_t rows_total_ = 0;
  bool no_more_rows_ = false;
  std::vector<wire::RowReport> rows_to_say_;
  std::map<uint64_t, std::vector<uint64_t>> rows_said_;  // requests that wait for RowsCommitted, and their rows
  HeldNumbers rows_held_;
  std::map<uint64_t, uint64_t> checkpoints_said_;  // request -> step
  size_t checkpoints_on_their_way_ = 0;            // whose blobs the scheduler does not have yet
  std::optional<EndVerdict> verdict_;              // once all have ended without the work being done
  int64_t finish_by_ = 0;                          // monotonic

  wire::Progress progress_;
  bool progress_changed_ = false;
  int64_t progress_said_at_ = 0;
};

}  // namespace lorry

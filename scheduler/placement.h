// Which queued run goes where, decided from plain state: nothing is sent or stored here.
//
// Runs are taken in the queue's order. A run that fits nowhere now but would fit a worker that is there keeps its place: nothing
// behind it takes devices of its sort, so it cannot starve. A run that fits no worker at all is passed over; a batch with
// committed rows fits only a worker whose home holds them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "scheduler/state.h"

namespace lorry {

struct Placement {
  RunId run;
  WorkerId worker;
  std::vector<DeviceId> devices;
};
std::vector<Placement> Place(const State& state, Instant now);

// Why a queued or paused run does not run now, one reason a line, most important first.
std::vector<std::string> WhyWaiting(const State& state, const Run& run, Instant now);

// Whether any worker that is there could ever hold it, everything else away. True where no worker is there to ask.
bool CouldEverFit(const State& state, const DeviceNeeds& needs);
// The kinds of the devices that it could be given as the workers are now; none where no worker could hold it.
std::set<std::string> GrantableKinds(const State& state, const DeviceNeeds& needs);
// The most devices of this sort that one worker has.
uint32_t LargestWorker(const State& state, const DeviceNeeds& needs);

}  // namespace lorry

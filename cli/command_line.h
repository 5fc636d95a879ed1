// The whole of `lorry`: parses, runs one command, prints its errors. Returns the exit status: 0 done, 1 the job or check
// failed, 2 usage or spec error, 3 scheduler not reachable, 4 not allowed, 5 not found, 6 budget or quota refuses.
#pragma once

namespace lorry {

int RunCommandLine(int argc, char** argv);

}  // namespace lorry

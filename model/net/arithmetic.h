// What decides about the bits of a result besides the job itself: which kernels run, and whose. A checkpoint and a batch record
// it, and go on only where it is the same.
#pragma once

#include <string>

#include "model/net/precision.h"

namespace lorry {

// "cpu: " and InstructionSet.
std::string CpuArithmetic(Precision precision);

// Our own kernels' version, and LibTorch and its libraries with the instructions that they chose.
std::string LibraryVersions();

}  // namespace lorry

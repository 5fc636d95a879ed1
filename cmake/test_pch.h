// The precompiled header of the tests that do not include LibTorch.
#include "control_pch.h"

#include <catch2/catch.hpp>

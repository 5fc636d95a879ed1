// The one main of all Catch2 binaries.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

# How every folder's CMakeLists.txt declares what it builds. Sources are listed by name: tests/tidy fails on an unlisted one.
include(CMakeParseArguments)
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")  # asserts stay on; a file of kernels asks for more by itself
set(LORRY_TEST_OPTIONS -O0)  # tests are compiled more often than they run
find_program(LORRY_CCACHE ccache)
if(LORRY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LORRY_CCACHE})
endif()

# One target carries warnings and sanitizers; everything of ours links it.
add_library(lorry_flags INTERFACE)
target_include_directories(lorry_flags INTERFACE ${CMAKE_SOURCE_DIR})
# One code model for libraries, programs and tests alike: GCC takes a precompiled header only with the flags it was made with.
target_compile_options(lorry_flags INTERFACE -fPIC -Wall -Wextra -Werror=return-type -Wno-missing-field-initializers $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> -Wno-invalid-pch)
target_compile_definitions(lorry_flags INTERFACE LORRY_VERSION="${PROJECT_VERSION}")
if(LORRY_SANITIZE)
  target_compile_options(lorry_flags INTERFACE -fsanitize=${LORRY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  target_link_options(lorry_flags INTERFACE -fsanitize=${LORRY_SANITIZE})
endif()
if(LORRY_FUZZ)
  target_compile_options(lorry_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -g1)
  target_link_options(lorry_flags INTERFACE -fsanitize=address,undefined)
endif()

# One precompiled header for sources, one for tests; LibTorch's is in LibTorch.cmake. Called once the packages are known.
function(lorry_precompile)
  foreach(kind control test)
    add_library(lorry_${kind}_pch STATIC ${CMAKE_SOURCE_DIR}/cmake/control_pch.cc)
    target_link_libraries(lorry_${kind}_pch PRIVATE lorry_flags fmt::fmt nlohmann_json::nlohmann_json)
    if(kind STREQUAL "test")
      if(NOT LORRY_TESTS)
        continue()
      endif()
      target_link_libraries(lorry_${kind}_pch PRIVATE Catch2::Catch2)
      target_compile_options(lorry_${kind}_pch PRIVATE ${LORRY_TEST_OPTIONS})
    endif()
    target_precompile_headers(lorry_${kind}_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/${kind}_pch.h)
  endforeach()
endfunction()

# lorry_add_folders(DIR...): adds each folder that has a CMakeLists.txt.
function(lorry_add_folders)
  foreach(dir IN LISTS ARGN)
    if(EXISTS ${CMAKE_SOURCE_DIR}/${dir}/CMakeLists.txt)
      add_subdirectory(${CMAKE_SOURCE_DIR}/${dir} ${CMAKE_BINARY_DIR}/${dir})
    endif()
  endforeach()
endfunction()

# lorry_library(NAME SOURCES a.cc ... LINKS targets...): one static library of one folder.
function(lorry_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC lorry_flags ${A_LINKS} fmt::fmt nlohmann_json::nlohmann_json)
  target_precompile_headers(${name} REUSE_FROM lorry_control_pch)
endfunction()

# lorry_program(NAME SOURCES main.cc LINKS targets...): an installed program.
function(lorry_program name)
  cmake_parse_arguments(A "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE lorry_flags ${A_LINKS})
  target_precompile_headers(${name} REUSE_FROM lorry_control_pch)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# lorry_test(NAME SOURCES x_test.cc ... LINKS targets... [LABELS ...] [TIMEOUT s] [WORKING_DIRECTORY d]): one Catch2 binary.
function(lorry_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE lorry_test_main lorry_flags ${A_LINKS} fmt::fmt nlohmann_json::nlohmann_json)
  target_compile_options(${name} PRIVATE ${LORRY_TEST_OPTIONS})
  target_precompile_headers(${name} REUSE_FROM lorry_test_pch)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}"
    ENVIRONMENT "LORRY_BIN=${CMAKE_BINARY_DIR}/bin;LORRY_TEST_BIN=${CMAKE_BINARY_DIR}/tests/bin")
endfunction()

# lorry_fuzzer(NAME SOURCES x_fuzz.cc LINKS targets... CORPUS dir): a libFuzzer target, and a test that replays its seeds and finds.
function(lorry_fuzzer name)
  cmake_parse_arguments(A "" "CORPUS" "SOURCES;LINKS" ${ARGN})
  if(LORRY_FUZZ)
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE lorry_flags ${A_LINKS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    if(NOT TARGET fuzz_targets)
      add_custom_target(fuzz_targets)  # these alone, not the programs that nobody fuzzes
    endif()
    add_dependencies(fuzz_targets ${name})
  elseif(LORRY_TESTS)
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE lorry_fuzz_replay lorry_flags ${A_LINKS} fmt::fmt nlohmann_json::nlohmann_json)
    target_precompile_headers(${name} REUSE_FROM lorry_control_pch)
    get_filename_component(found ${A_CORPUS} NAME)
    add_test(NAME ${name}_corpus WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
      COMMAND tests/fuzz/replay $<TARGET_FILE:${name}> ${A_CORPUS} tests/fuzz/found/${found}.tar.xz)
    set_tests_properties(${name}_corpus PROPERTIES TIMEOUT 120 LABELS fuzz)
  endif()
endfunction()

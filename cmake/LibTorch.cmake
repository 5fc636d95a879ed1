# LibTorch from the `torch` wheel, as imported targets. find_package(Torch) of that wheel wants a CUDA toolkit and trips over
# C++20 with CMake 3.25, so the libraries are named here.
#
#   LORRY_LIBTORCH   folder that holds the wheel's `torch/` (scripts/setup puts it into $LORRY_DEPS)
#   lorry_torch              headers and libraries
#   lorry_use_torch(TARGET)  for every target that includes LibTorch: links it, compiles with -fopenmp, without which at::parallel_for
#                            of our own files runs serially, and with one precompiled header
if(NOT LORRY_LIBTORCH)
  if(DEFINED ENV{LORRY_DEPS})
    set(LORRY_LIBTORCH "$ENV{LORRY_DEPS}/libtorch-2.11.0")
  else()
    set(LORRY_LIBTORCH "$ENV{HOME}/.cache/lorry/libtorch-2.11.0")
  endif()
endif()
set(LORRY_LIBTORCH "${LORRY_LIBTORCH}" CACHE PATH "folder that holds the torch wheel")
set(torch_root "${LORRY_LIBTORCH}/torch")
if(NOT EXISTS ${torch_root}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not in ${torch_root}; run scripts/setup, or configure with the preset `control` to build without it")
endif()

find_package(MPI REQUIRED COMPONENTS C)
find_package(HDF5 REQUIRED COMPONENTS C)

add_library(lorry_torch_fmt STATIC ${CMAKE_CURRENT_LIST_DIR}/torch_fmt.cc)
target_include_directories(lorry_torch_fmt SYSTEM PRIVATE ${torch_root}/include)

add_library(lorry_torch INTERFACE)
target_include_directories(lorry_torch SYSTEM INTERFACE ${torch_root}/include ${torch_root}/include/torch/csrc/api/include)
# The wheel's own libgomp, not the compiler's: a process has one OpenMP runtime, and it is the one that libtorch_cpu loads.
target_link_libraries(lorry_torch INTERFACE lorry_torch_fmt
  ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so ${torch_root}/lib/libgomp.so.1)
target_compile_options(lorry_torch INTERFACE -Wno-unused-parameter -Wno-unknown-pragmas)

add_library(lorry_torch_pch_holder STATIC ${CMAKE_CURRENT_LIST_DIR}/torch_pch.cc)
# fmt's and json's macros must be those of the sources that use the header: with others GCC passes over it and parses all anew.
target_link_libraries(lorry_torch_pch_holder PRIVATE lorry_flags lorry_torch fmt::fmt nlohmann_json::nlohmann_json)
target_compile_options(lorry_torch_pch_holder PRIVATE -fopenmp)
target_precompile_headers(lorry_torch_pch_holder PRIVATE ${CMAKE_CURRENT_LIST_DIR}/torch_pch.h)
function(lorry_use_torch target)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_link_libraries(${target} PRIVATE lorry_torch)
    target_compile_options(${target} PRIVATE -O2 -fPIC)  # as the header is compiled: with -O0 or -fPIE GCC passes over it
  else()
    target_link_libraries(${target} PUBLIC lorry_torch)
  endif()
  target_compile_options(${target} PRIVATE -fopenmp)
  target_precompile_headers(${target} REUSE_FROM lorry_torch_pch_holder)
endfunction()

# What is installed brings its LibTorch along (450 MB; with CUDA 4 GB): a service cannot read what lies in somebody's home. The folders
# are those of the wheels, whose libraries look for each other there.
set(installed_torch lib/lorry)
if(LORRY_CUDA)
  install(DIRECTORY ${torch_root}/lib DESTINATION ${installed_torch}/torch FILES_MATCHING PATTERN "*.so*")
  install(DIRECTORY ${LORRY_LIBTORCH}/nvidia DESTINATION ${installed_torch} FILES_MATCHING PATTERN "*.so*")
else()
  install(FILES ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so ${torch_root}/lib/libgomp.so.1 DESTINATION ${installed_torch}/torch/lib)
  install(FILES ${LORRY_LIBTORCH}/nvidia/cu13/lib/libcudart.so.13 ${LORRY_LIBTORCH}/nvidia/cu13/lib/libcupti.so.13 DESTINATION ${installed_torch}/nvidia/cu13/lib)
endif()
install(DIRECTORY ${LORRY_LIBTORCH}/torch-2.11.0.dist-info/licenses/ DESTINATION share/doc/lorry/libtorch)

# lorry_find_installed_torch(PROGRAM): where the installed program looks for it.
function(lorry_find_installed_torch program)
  set(root "$ORIGIN/../${installed_torch}")
  set_target_properties(${program} PROPERTIES INSTALL_RPATH "${root}/torch/lib;${root}/nvidia/nccl/lib;${root}/nvidia/cu13/lib")
endfunction()

if(LORRY_CUDA OR LORRY_TESTS)
  include(Cuda)
endif()

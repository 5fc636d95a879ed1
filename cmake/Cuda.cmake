# CUDA and NCCL for LORRY_CUDA, from the same wheels as LibTorch: enough to compile and link on a machine without a GPU.
#
#   lorry_nccl   headers of CUDA and NCCL; libtorch_cuda, libc10_cuda, libnccl, libcudart
set(cuda_root "${LORRY_LIBTORCH}/nvidia/cu13")
set(nccl_root "${LORRY_LIBTORCH}/nvidia/nccl")
foreach(file ${cuda_root}/include/cuda_runtime_api.h ${nccl_root}/include/nccl.h ${torch_root}/lib/libc10_cuda.so)
  if(NOT EXISTS ${file})
    message(FATAL_ERROR "LORRY_CUDA needs ${file}; run scripts/setup")
  endif()
endforeach()
add_library(lorry_nccl INTERFACE)
target_include_directories(lorry_nccl SYSTEM INTERFACE ${cuda_root}/include ${nccl_root}/include)
# libtorch_cuda registers the GPU's kernels when it is loaded; nothing names it, so the linker must not drop it.
target_link_libraries(lorry_nccl INTERFACE -Wl,--no-as-needed ${torch_root}/lib/libtorch_cuda.so -Wl,--as-needed
  ${torch_root}/lib/libc10_cuda.so ${nccl_root}/lib/libnccl.so.2 ${cuda_root}/lib/libcudart.so.13)
target_link_options(lorry_nccl INTERFACE "-Wl,-rpath,${nccl_root}/lib:${cuda_root}/lib")
target_compile_definitions(lorry_nccl INTERFACE LORRY_CUDA=1)

# CUDA and NCCL from the same wheels as LibTorch: enough to compile and link on a machine without a GPU or a CUDA toolkit.
#
#   lorry_nccl        headers of CUDA and NCCL; libc10_cuda, libnccl, libcudart, which scripts/setup installs
#   lorry_torch_cuda  also libtorch_cuda, the GPU's kernels. Linking needs nothing more; running needs cuBLAS, cuDNN and the other
#                     libraries that libtorch_cuda names, 2.5 GB of wheels (docs/dependencies.md). The linker is told not to look
#                     for them: what they define is libtorch_cuda's business, not ours.
set(cuda_root "${LORRY_LIBTORCH}/nvidia/cu13")
set(nccl_root "${LORRY_LIBTORCH}/nvidia/nccl")
foreach(file ${cuda_root}/include/cuda_runtime_api.h ${cuda_root}/include/crt/host_defines.h ${cuda_root}/include/nv/target
             ${nccl_root}/include/nccl.h
             ${torch_root}/lib/libtorch_cuda.so)
  if(NOT EXISTS ${file})
    message(FATAL_ERROR "What needs CUDA is compiled with ${file}, which is missing; run scripts/setup")
  endif()
endforeach()

add_library(lorry_nccl INTERFACE)
target_include_directories(lorry_nccl SYSTEM INTERFACE ${cuda_root}/include ${nccl_root}/include)
target_link_libraries(lorry_nccl INTERFACE ${torch_root}/lib/libc10_cuda.so ${nccl_root}/lib/libnccl.so.2 ${cuda_root}/lib/libcudart.so.13)

add_library(lorry_torch_cuda INTERFACE)
# libtorch_cuda registers the GPU's kernels when it is loaded; nothing names it, so the linker must not drop it.
target_link_libraries(lorry_torch_cuda INTERFACE lorry_nccl -Wl,--no-as-needed ${torch_root}/lib/libtorch_cuda.so -Wl,--as-needed)
target_link_options(lorry_torch_cuda INTERFACE -Wl,--allow-shlib-undefined)

# Finds libtorch for C++ without a CUDA toolkit: imports libtorch_cpu and libc10 only (the wheel's own package file insists on CUDA).
#
#   -DPVA_LIBTORCH=DIR   a PyPI wheel's `torch` folder (or the folder it was installed into), an unpacked LibTorch zip,
#                        a conda or system PyTorch; default: the cache that jobs/local/setup.sh fills.
#
# Defines Torch::cpu. CUDA is not linked: its backend library is loaded at run time where there is a device. Where libtorch has that library
# and CUDA's headers are found (beside a PyPI wheel, or in a toolkit; -DPVA_CUDA_INCLUDE=DIR), Torch::cuda is there too, for the optional
# library of src/model that records CUDA graphs.
set(PVA_LIBTORCH "" CACHE PATH "Folder of libtorch (contains include/ATen and lib/libtorch_cpu.so)")
set(pva_torch_version 2.11.0)

if(DEFINED ENV{XDG_CACHE_HOME})
  set(pva_cache $ENV{XDG_CACHE_HOME}/pva)
else()
  set(pva_cache $ENV{HOME}/.cache/pva)
endif()
if(PVA_LIBTORCH)
  set(pva_torch_candidates ${PVA_LIBTORCH} ${PVA_LIBTORCH}/torch ${PVA_LIBTORCH}/libtorch)
else()
  set(pva_torch_candidates ${pva_cache}/libtorch-${pva_torch_version}/torch)
endif()
set(pva_torch_root "")
foreach(candidate IN LISTS pva_torch_candidates)
  if(EXISTS ${candidate}/lib/libtorch_cpu.so AND EXISTS ${candidate}/include/ATen/ATen.h)
    set(pva_torch_root ${candidate})
    break()
  endif()
endforeach()
if(NOT pva_torch_root)
  list(JOIN pva_torch_candidates ", " looked)
  message(FATAL_ERROR "libtorch not found (looked for lib/libtorch_cpu.so and include/ATen/ATen.h in: ${looked}). "
    "Run jobs/local/setup.sh, or pass -DPVA_LIBTORCH=DIR with the folder of a LibTorch zip or of an installed torch package.")
endif()

# Old wheels (before 2.6) and some conda builds use the old C++ ABI; linking them with Boost and SentencePiece fails with
# pages of undefined std::__cxx11 symbols, so that is found out here.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_INCLUDES ${pva_torch_root}/include)
set(CMAKE_REQUIRED_LIBRARIES ${pva_torch_root}/lib/libc10.so)
set(CMAKE_REQUIRED_FLAGS "-std=c++20")
unset(PVA_TORCH_NEW_ABI CACHE)
check_cxx_source_compiles("
  #include <string>
  namespace c10 { namespace detail { void torchCheckFail(const char*, const char*, unsigned int, const std::string&); } }
  int main(int argc, char**) { if (argc > 99) c10::detail::torchCheckFail(\"\", \"\", 0, std::string()); return 0; }"
  PVA_TORCH_NEW_ABI)
unset(CMAKE_REQUIRED_INCLUDES)
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_FLAGS)
if(NOT PVA_TORCH_NEW_ABI)
  message(FATAL_ERROR "The libtorch in ${pva_torch_root} cannot be linked with the new C++ ABI (-D_GLIBCXX_USE_CXX11_ABI=1) "
    "that Boost and SentencePiece use. Take a \"cxx11 ABI\" LibTorch zip, a torch wheel from 2.6 on, or run jobs/local/setup.sh.")
endif()

file(STRINGS ${pva_torch_root}/include/torch/headeronly/version.h pva_torch_version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
if(NOT pva_torch_version_lines AND EXISTS ${pva_torch_root}/include/torch/csrc/api/include/torch/version.h)
  file(STRINGS ${pva_torch_root}/include/torch/csrc/api/include/torch/version.h pva_torch_version_lines
    REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
endif()
string(REGEX MATCHALL "[0-9]+" pva_torch_numbers "${pva_torch_version_lines}")
list(JOIN pva_torch_numbers "." PVA_TORCH_VERSION_FOUND)

add_library(Torch::c10 SHARED IMPORTED GLOBAL)
# libtorch is built with NDEBUG, and without it classes of its headers (at::RecordFunction) have one member more.
set_target_properties(Torch::c10 PROPERTIES IMPORTED_LOCATION ${pva_torch_root}/lib/libc10.so INTERFACE_COMPILE_DEFINITIONS NDEBUG
  INTERFACE_INCLUDE_DIRECTORIES "${pva_torch_root}/include;${pva_torch_root}/include/torch/csrc/api/include")
add_library(Torch::cpu SHARED IMPORTED GLOBAL)
set_target_properties(Torch::cpu PROPERTIES IMPORTED_LOCATION ${pva_torch_root}/lib/libtorch_cpu.so
  INTERFACE_LINK_LIBRARIES Torch::c10)
file(GLOB pva_wheel_cuda ${pva_torch_root}/../nvidia/*/include)
# cuda_runtime.h includes crt/host_config.h, which a wheel of its own (nvidia-cuda-crt) brings.
find_path(PVA_CUDA_INCLUDE crt/host_config.h HINTS ${pva_wheel_cuda} $ENV{CUDA_HOME}/include PATHS /usr/local/cuda/include)
file(GLOB pva_cudart ${pva_torch_root}/lib/libcudart*.so* ${PVA_CUDA_INCLUDE}/../lib/libcudart.so* ${PVA_CUDA_INCLUDE}/../lib64/libcudart.so*)
if(EXISTS "${PVA_CUDA_INCLUDE}/cuda_runtime_api.h" AND EXISTS "${PVA_CUDA_INCLUDE}/crt/host_config.h" AND pva_cudart AND EXISTS ${pva_torch_root}/lib/libtorch_cuda.so AND EXISTS ${pva_torch_root}/include/ATen/cuda/CUDAGraph.h)
  list(GET pva_cudart 0 pva_cudart)
  add_library(Torch::cuda SHARED IMPORTED GLOBAL)
  set_target_properties(Torch::cuda PROPERTIES IMPORTED_LOCATION ${pva_torch_root}/lib/libtorch_cuda.so
    INTERFACE_LINK_LIBRARIES "${pva_torch_root}/lib/libc10_cuda.so;${pva_cudart};Torch::cpu")
else()
  message(STATUS "no CUDA headers or no libtorch with CUDA: --cuda-graphs will not be there")
endif()
message(STATUS "libtorch ${PVA_TORCH_VERSION_FOUND}: ${pva_torch_root}")

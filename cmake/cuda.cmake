# The library _cuda: our kernels and the CUDA runtime (static), which _core opens when a CUDA device is first asked for.
# SKIPWAY_CUDA: AUTO (default) builds it where there are nvcc and an NVIDIA driver, for this machine's GPUs alone, so
# that nobody waits for kernels that they cannot run; ON builds it for sm_80 and sm_90, with PTX for newer ones; OFF does
# not. SKIPWAY_CUDA_ARCHITECTURES, in CMake's notation, replaces that choice: "75" is the oldest that works.
set(SKIPWAY_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO, ON or OFF")
set_property(CACHE SKIPWAY_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SKIPWAY_CUDA_ARCHITECTURES "" CACHE STRING "CUDA architectures to build for, such as 80-real;90")

# nvcc: CUDACXX, a toolkit of the system, or the package nvidia-cuda-nvcc in site-packages.
function(sw_find_nvcc result)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import sys, sysconfig; print(';'.join({*sys.path, *sysconfig.get_paths().values()} - {''}))"
    OUTPUT_VARIABLE paths OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(packages)
  foreach(path IN LISTS paths)
    file(GLOB found "${path}/nvidia/cu*/bin" "${path}/nvidia/cuda_nvcc/bin")
    list(APPEND packages ${found})
  endforeach()
  find_program(SW_NVCC nvcc HINTS "$ENV{CUDA_PATH}/bin" "$ENV{CUDA_HOME}/bin" PATHS /usr/local/cuda/bin ${packages})
  if(DEFINED ENV{CUDACXX})
    set(SW_NVCC "$ENV{CUDACXX}")
  endif()
  set(${result} "${SW_NVCC}" PARENT_SCOPE)
endfunction()

# The compute capabilities of this machine's GPUs, as "90-real"; empty without a driver.
function(sw_find_gpus result)
  set(found)
  find_program(SW_NVIDIA_SMI nvidia-smi)
  if(SW_NVIDIA_SMI)
    execute_process(COMMAND "${SW_NVIDIA_SMI}" --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE lines
                    RESULT_VARIABLE failed ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${lines}")
    foreach(capability IN LISTS capabilities)
      string(REPLACE "." "" capability "${capability}")
      if(NOT failed AND capability GREATER_EQUAL 75)
        list(APPEND found "${capability}-real")
      endif()
    endforeach()
    list(REMOVE_DUPLICATES found)
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

set(SW_CUDA OFF)
if(NOT SKIPWAY_CUDA STREQUAL "OFF" AND NOT SKIPWAY_SANITIZE)
  sw_find_nvcc(SW_CUDA_NVCC)
  sw_find_gpus(SW_CUDA_GPUS)
  if(SKIPWAY_CUDA STREQUAL "AUTO")
    if(SW_CUDA_NVCC AND SW_CUDA_GPUS)
      set(SW_CUDA ON)
      set(SW_CUDA_TARGETS "${SW_CUDA_GPUS}")
    else()
      message(STATUS "CUDA kernels: not built (nvcc: ${SW_CUDA_NVCC}; GPUs: ${SW_CUDA_GPUS}); see SKIPWAY_CUDA")
    endif()
  elseif(NOT SW_CUDA_NVCC)
    message(FATAL_ERROR "SKIPWAY_CUDA=ON needs nvcc: install the CUDA toolkit, or "
                        "pip install nvidia-cuda-nvcc nvidia-cuda-runtime; CUDACXX may name it")
  else()
    set(SW_CUDA ON)
    set(SW_CUDA_TARGETS 80-real 90)
  endif()
endif()

if(SW_CUDA)
  if(SKIPWAY_CUDA_ARCHITECTURES)
    set(SW_CUDA_TARGETS "${SKIPWAY_CUDA_ARCHITECTURES}")
  endif()
  set(CMAKE_CUDA_COMPILER "${SW_CUDA_NVCC}")
  set(CMAKE_CUDA_ARCHITECTURES "${SW_CUDA_TARGETS}")
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_EXTENSION_COMPILE_OPTION)  # CMake before 3.26 does not know the flag
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  message(STATUS "CUDA kernels: ${SW_CUDA_NVCC} ${CMAKE_CUDA_COMPILER_VERSION} for ${SW_CUDA_TARGETS}")
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.0)
    message(FATAL_ERROR "The CUDA kernels are C++20, which needs nvcc 12.0; this is ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
  file(GLOB SW_CUDA_SOURCES CONFIGURE_DEPENDS csrc/ops/*_cuda.cu csrc/kernels/*_cuda.cu csrc/kernels/cuda/*.cu
       csrc/cuda/*.cu)
  add_library(_cuda MODULE ${SW_CUDA_SOURCES} csrc/core/dtype.cpp csrc/core/shape.cpp)
  string(REPLACE ";" ", sm_" SW_CUDA_NAMES "sm_${SW_CUDA_TARGETS}")
  string(REPLACE "-real" "" SW_CUDA_NAMES "${SW_CUDA_NAMES}")
  set_target_properties(
    _cuda PROPERTIES PREFIX "" SUFFIX ".so" CUDA_RUNTIME_LIBRARY Static
                     CUDA_VISIBILITY_PRESET hidden CUDA_ARCHITECTURES "${SW_CUDA_TARGETS}"
                     INTERPROCEDURAL_OPTIMIZATION OFF)
  target_include_directories(_cuda PRIVATE csrc)
  target_compile_definitions(_cuda PRIVATE SW_CUDA_MODULE "SW_CUDA_TARGETS=\"${SW_CUDA_NAMES}\"")
  target_compile_options(
    _cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-O3 --expt-relaxed-constexpr --extended-lambda -Xfatbin=-compress-all>)
  target_link_options(_cuda PRIVATE -Wl,--gc-sections -Wl,--exclude-libs,ALL)
  target_link_libraries(_cuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  install(TARGETS _cuda LIBRARY DESTINATION skipway)
endif()

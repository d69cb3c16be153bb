// Names and source lines of this library's machine code.
#pragma once
#include <string>
#include <vector>

namespace emulator {

std::string function_name(const void* address);   // demangled, without the kernel tag
std::vector<std::string> kernel_names();          // of all __global__ functions in this library
std::string short_name(const std::string& name);  // "f<float>" of "void (anonymous namespace)::f<float>(float*)"
// "reduce.cuh:31 < softmax_cuda.cu:57": the line of the call that returns to pc, and those it was inlined into
std::string source_line(const void* pc);
bool in_this_library(const void* p);

}  // namespace emulator

// Faults found in a launch or a call of the runtime. Each kind and place is reported once, with a count.
#pragma once
#include <string>
#include <vector>

#include "cuda_emulator/emulator/state.h"

namespace emulator {

std::string format(const char* text, ...) __attribute__((format(printf, 1, 2)));

// `kind` is a string literal; `pc` the place in the kernel (null if there is none).
void report(const char* kind, const void* pc, const Thread* thread, const std::string& detail = {});
void report_at(const char* kind, const char* file, int line, const Thread* thread, const std::string& detail = {});
std::string thread_name(unsigned linear);  // "thread (3,0,0)" of the current launch

bool has_faults();
void throw_faults();                    // std::runtime_error with the faults since the last throw, if there are any
std::vector<std::string> all_faults();  // of the process since clear_faults
void clear_faults();

}  // namespace emulator

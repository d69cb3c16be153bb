// What launches need of the runtime API, and what others ask about launches.
#pragma once
#include <string>
#include <vector>

namespace emulator {

int current_device();                       // of this OS thread
bool stream_usable(const void* stream);     // null, or a living stream of the current device
std::vector<std::string> launched_names();  // kernels launched in this process

// bank_conflicts.cpp
std::vector<std::string> bank_conflicts();  // "wavefronts conflicts line" for each line of a kernel
void clear_bank_conflicts();

}  // namespace emulator

// Switching between stacks: a register save, a change of the stack pointer, a register restore.
#pragma once
#include <cstddef>

namespace emulator {

// A stack on which `entry` runs when it is first switched to. `entry` must not return.
void* prepare_stack(char* stack, size_t bytes, void (*entry)());

// Saves the current context in *save and resumes `next`, which prepare_stack or an earlier switch has given.
extern "C" void emulator_switch_context(void** save, void* next);

}  // namespace emulator

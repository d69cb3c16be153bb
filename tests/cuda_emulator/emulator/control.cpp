// Functions with C linkage for the tests (see ../control.py). Texts lie in a buffer until the next call.
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuda_emulator/emulator/launches.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/symbols.h"

using namespace emulator;

namespace {

const char* lines(const std::vector<std::string>& all) {
  static std::string buffer;
  buffer.clear();
  for (const std::string& line : all) buffer += line + "\n";
  return buffer.c_str();
}

struct FromEnvironment {
  FromEnvironment() {
    if (const char* seed = std::getenv("SKIPWAY_EMULATOR_SEED")) settings.seed = std::strtoull(seed, nullptr, 10);
    if (const char* mib = std::getenv("SKIPWAY_EMULATOR_MEMORY_MIB"))
      settings.memory_limit = std::strtoull(mib, nullptr, 10) << 20;
  }
} from_environment;

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int emulator_checked() { return checked_build; }
const char* emulator_launched() { return lines(launched_names()); }
const char* emulator_kernels() { return lines(kernel_names()); }
const char* emulator_faults() { return lines(all_faults()); }
void emulator_clear_faults() { clear_faults(); }

void emulator_set_seed(unsigned long long seed) { settings.seed = seed; }
void emulator_set_memory_limit(size_t bytes) {
  settings.memory_limit = bytes < kDeviceBytes / 2 ? bytes : kDeviceBytes / 2;
}
void emulator_set_time_limit(double seconds) { settings.time_limit_s = seconds; }
void emulator_set_event_limit(unsigned long long events) { settings.event_limit = events; }
void emulator_count_bank_conflicts(int on) { settings.count_bank_conflicts = on; }

const char* emulator_bank_conflicts() { return lines(bank_conflicts()); }

void emulator_reset_counters() {
  counters = {};
  clear_bank_conflicts();
}
unsigned long long emulator_counter(const char* name) {
  const struct {
    const char* name;
    uint64_t value;
  } all[] = {{"launches", counters.launches},
             {"blocks", counters.blocks},
             {"accesses", counters.accesses},
             {"switches", counters.switches},
             {"matrix_loads", counters.matrix_loads},
             {"matrix_load_conflicts", counters.matrix_load_conflicts},
             {"shared_wavefronts", counters.shared_wavefronts},
             {"shared_conflicts", counters.shared_conflicts}};
  for (const auto& c : all)
    if (std::strcmp(c.name, name) == 0) return c.value;
  return ~0ull;
}

}  // extern "C"
#pragma GCC visibility pop

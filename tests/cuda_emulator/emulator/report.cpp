#include "cuda_emulator/emulator/report.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "cuda_emulator/emulator/symbols.h"

namespace emulator {
namespace {

struct Fault {
  const char* kind;
  const void* pc;
  std::string place, who, detail;  // place: if it is known without pc
  const void* kernel;
  int count = 1;
};
constexpr size_t kMostFaults = 20;

std::vector<Fault> pending;       // since the last throw
std::vector<std::string> faults;  // of the process

std::string text(const Fault& f) {
  std::string s = f.kernel ? short_name(function_name(f.kernel)) + ": " : std::string();
  s += f.kind;
  const std::string place = f.pc ? source_line(f.pc) : f.place;
  if (!place.empty()) s += " at " + place;
  if (!f.detail.empty()) s += ", " + f.detail;
  if (!f.who.empty()) s += ", by " + f.who;
  if (f.count > 1) s += format(" (and %d more)", f.count - 1);
  return s;
}

void add(Fault fault) {
  for (Fault& f : pending)
    if (f.kind == fault.kind && f.pc == fault.pc && f.place == fault.place) {
      ++f.count;
      return;
    }
  if (pending.size() < kMostFaults) pending.push_back(std::move(fault));
}

std::string who(const Thread* thread) {
  if (!thread) return {};
  const uint3 b = current_block.index;
  return thread_name(thread->linear) + format(" of block (%u,%u,%u)", b.x, b.y, b.z);
}
const void* kernel() { return current_launch.request ? current_launch.request->kernel : nullptr; }

}  // namespace

std::string format(const char* text, ...) {
  char buffer[1024];
  va_list arguments;
  va_start(arguments, text);
  vsnprintf(buffer, sizeof buffer, text, arguments);
  va_end(arguments);
  return buffer;
}

std::string thread_name(unsigned linear) {
  const dim3 block = current_launch.request->block;
  return format("thread (%u,%u,%u)", linear % block.x, linear / block.x % block.y, linear / (block.x * block.y));
}

void report(const char* kind, const void* pc, const Thread* thread, const std::string& detail) {
  add({kind, pc, {}, who(thread), detail, kernel()});
}
void report_at(const char* kind, const char* file, int line, const Thread* thread, const std::string& detail) {
  const char* slash = std::strrchr(file, '/');
  add({kind, nullptr, format("%s:%d", slash ? slash + 1 : file, line), who(thread), detail, kernel()});
}

bool has_faults() { return !pending.empty(); }

void throw_faults() {
  if (pending.empty()) return;
  std::string all = "CUDA emulator: ";
  for (size_t i = 0; i < pending.size(); ++i) {
    faults.push_back(text(pending[i]));
    all += (i ? "\n  " : "") + faults.back();
  }
  pending.clear();
  throw std::runtime_error(all);
}

std::vector<std::string> all_faults() {
  for (const Fault& f : pending) faults.push_back(text(f));
  pending.clear();
  return faults;
}
void clear_faults() {
  pending.clear();
  faults.clear();
}

}  // namespace emulator

// A launch: its limits, its blocks in a shuffled order, and the list of kernels that were launched. Shared memory.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_set>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/launches.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/streams.h"
#include "cuda_emulator/emulator/symbols.h"

namespace emulator {
namespace {

std::unordered_set<const void*>& launched() {
  static auto& the_set = *new std::unordered_set<const void*>;
  return the_set;
}

// The names of launched kernels go to a file that several processes may share, one write for each process.
struct AtExit {
  ~AtExit() {
    const char* path = std::getenv("SKIPWAY_EMULATOR_LAUNCHED");
    if (!path || launched().empty()) return;
    std::string text;
    for (const std::string& name : launched_names()) text += name + "\n";
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) return;
    [[maybe_unused]] const ssize_t written = write(file, text.data(), text.size());
    close(file);
  }
} at_exit;

// The limits that all devices since sm_75 share, but for shared memory, where they are those of sm_90.
std::string limits_broken(const LaunchRequest& r) {
  const dim3 g = r.grid, b = r.block;
  const uint64_t n = uint64_t(b.x) * b.y * b.z;
  if (n == 0 || n > kMaxThreads || b.x > 1024 || b.y > 1024 || b.z > 64)
    return format("a block of %u x %u x %u threads; 1 to 1024 are possible (64 in z)", b.x, b.y, b.z);
  if (!g.x || !g.y || !g.z || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
    return format("a grid of %u x %u x %u blocks; 1 to 2^31 - 1 (x) and 65535 (y, z) are possible", g.x, g.y, g.z);
  if (uint64_t(g.x) * g.y * g.z > uint64_t(1) << 26)
    return format("a grid of %u x %u x %u blocks; the emulator runs at most 2^26", g.x, g.y, g.z);
  if (r.dynamic_shared_bytes > kBlockSharedLimit)
    return format("%zu bytes of dynamic shared memory; at most %zu are possible", r.dynamic_shared_bytes,
                  kBlockSharedLimit);
  if (r.parameters_bytes > 4096)
    return format("%zu bytes of parameters; at most 4096 are possible", r.parameters_bytes);
  return {};
}

std::vector<unsigned> shuffled_blocks(size_t count) {
  std::vector<unsigned> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = unsigned(i);
  for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[next_random() % i]);
  return order;
}

void run_blocks(const LaunchRequest& request) {
  seed_random(settings.seed);
  start_launch_epochs();
  start_watchdog();
  for (unsigned linear : shuffled_blocks(size_t(request.grid.x) * request.grid.y * request.grid.z)) {
    run_block(linear);
    if (has_faults()) break;
  }
  stop_watchdog();
}

}  // namespace

namespace {

// A copy of a request with its arguments, to be launched when the graph runs.
struct Recorded {
  explicit Recorded(const LaunchRequest& r) : request(r) {
    arguments = ::operator new(r.arguments_bytes, std::align_val_t(128));
    std::memcpy(arguments, r.arguments, r.arguments_bytes);
    request.arguments = arguments;
    request.stream = nullptr;
  }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;
  ~Recorded() { ::operator delete(arguments, std::align_val_t(128)); }
  LaunchRequest request;
  void* arguments;
};

}  // namespace

void launch(const LaunchRequest& request) {
  const auto stream = static_cast<cudaStream_t>(request.stream);
  if (stream_usable(stream)) {
    if (const cudaError_t error = usable(stream))
      throw std::runtime_error(std::string("CUDA emulator: a launch: ") + cudaGetErrorString(error));
    if (captures(stream))
      return record(stream, [recorded = std::make_shared<Recorded>(request)] { launch(recorded->request); });
  }
  const DeviceMemoryOpen open;
  throw_faults();  // what came up between launches, such as a double free
  current_launch.request = &request;
  current_launch.device = current_device();
  current_launch.threads = request.block.x * request.block.y * request.block.z;
  current_launch.warps = (current_launch.threads + kWarpSize - 1) / kWarpSize;
  ++counters.launches;
  launched().insert(request.kernel);
  const std::string broken = limits_broken(request);
  if (!broken.empty()) {
    report("impossible launch", EMULATOR_CALLER, nullptr, broken);
  } else if (!stream_usable(request.stream)) {
    report("launch on a stream of another device, or on a destroyed one", EMULATOR_CALLER, nullptr,
           format("device %d is current", current_launch.device));
  } else {
    run_blocks(request);
  }
  const bool faulty = has_faults();
  struct Done {
    ~Done() { current_launch.request = nullptr; }
  } done;
  if (faulty) throw_faults();
}

std::vector<std::string> launched_names() {
  std::set<std::string> names;
  for (const void* kernel : launched()) names.insert(function_name(kernel));
  return {names.begin(), names.end()};
}

void* static_shared(const void* key, size_t bytes, size_t alignment) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  Block& b = current_block;
  void*& p = b.static_shared[key];
  if (p) return p;
  const size_t step = std::max<size_t>(alignment, 16);
  const size_t gap = b.static_shared.size() > 1 ? 64 : 0;  // not addressable, so that overruns are seen
  const size_t offset = (b.static_shared_end + gap + step - 1) / step * step;
  const size_t used = offset + bytes - kStaticSharedStart - (b.static_shared.size() - 1) * 64;
  if (used > kStaticSharedLimit || used + current_launch.request->dynamic_shared_bytes > kBlockSharedLimit) {
    report("too much shared memory", pc, in.self,
           format("%zu bytes static, %zu dynamic; at most 48 KiB static and 227 KiB together are possible", used,
                  current_launch.request->dynamic_shared_bytes));
    abort_block();
  }
  b.static_shared_end = offset + bytes;
  make_addressable(offset, bytes);
  return p = space + offset;
}

void* dynamic_shared(size_t bytes, size_t alignment) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  const size_t launched_with = current_launch.request->dynamic_shared_bytes;
  if (bytes > launched_with) {
    report("dynamic shared memory is smaller than its struct", pc, in.self,
           format("launched with %zu bytes, the struct has %zu", launched_with, bytes));
    abort_block();
  }
  if (alignment > 1024) {
    report("dynamic shared memory is aligned to 1024 bytes only", pc, in.self,
           format("the struct needs %zu", alignment));
    abort_block();
  }
  return space + kDynamicSharedStart;
}

}  // namespace emulator

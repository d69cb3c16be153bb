// The emulated address space: shared memory, pinned host memory and the memory of two devices lie in one mapping, with
// a shadow that knows of each byte whether it may be touched, whether it was written, and by whom it was last accessed.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda_emulator/emulator/state.h"

namespace emulator {

inline constexpr int kDevices = 2;
inline constexpr size_t kGiB = size_t(1) << 30;
inline constexpr size_t kSharedBytes = size_t(1) << 20;
inline constexpr size_t kStaticSharedStart = size_t(64) << 10, kDynamicSharedStart = size_t(512) << 10;
inline constexpr size_t kStaticSharedLimit = 48 << 10, kBlockSharedLimit = 227 << 10;
inline constexpr size_t kPinnedStart = kGiB, kPinnedBytes = kGiB;
inline constexpr size_t kDeviceStart = 2 * kGiB, kDeviceBytes = 2 * kGiB;
inline constexpr size_t kSpaceBytes = kDeviceStart + kDevices * kDeviceBytes;

// States of a byte
enum : uint8_t {
  kAddressable = 1,
  kInitialised = 2,
  kCopyPending = 4,  // the destination of an asynchronous copy
  kWrittenAtomically = 8,
  kFreed = 16,
  kWrittenByTma = 32
};

struct Shadow {
  uint8_t* state;
  uint32_t *writer, *reader, *other_reader;  // epochs; two concurrent readers at most are kept
};

extern char* space;  // null before the first use
extern Shadow shadow;

void open_space();
inline size_t space_offset(const void* p) { return size_t(static_cast<const char*>(p) - space); }
inline bool is_shared(size_t offset) { return offset < kSharedBytes; }
inline bool is_device(size_t offset) { return offset >= kDeviceStart && offset < kSpaceBytes; }
inline bool is_pinned(size_t offset) { return offset >= kPinnedStart && offset < kPinnedStart + kPinnedBytes; }
inline int device_of(size_t offset) { return int((offset - kDeviceStart) / kDeviceBytes); }

enum class Access : uint8_t { Read, Write, Atomic };

// Checks one access of a kernel's thread, and notes it. Aborts the block where going on would crash.
void check_access(Thread& self, const void* p, size_t bytes, Access access, const void* pc);

// Bytes of the space become addressable and uninitialised (NaN, unless they are very many), or go out of bounds.
void make_addressable(size_t offset, size_t bytes);
void make_unaddressable(size_t offset, size_t bytes, uint8_t state);
void mark_initialised(size_t offset, size_t bytes);
void forget_races();  // epoch numbers start again

// Host code has no access to device memory, but the emulator has while one of these lives.
class DeviceMemoryOpen {
 public:
  DeviceMemoryOpen();
  DeviceMemoryOpen(const DeviceMemoryOpen&) = delete;
  DeviceMemoryOpen& operator=(const DeviceMemoryOpen&) = delete;
  ~DeviceMemoryOpen();
};

void watch_host_accesses();  // host_guard.cpp

// bank_conflicts.cpp
void note_shared_access(const Thread& self, size_t offset, size_t bytes, const void* pc);
void count_bank_conflicts_of_block();

// allocations.cpp
enum class Region : uint8_t { Pinned, Device0, Device1 };
void* allocate(Region region, size_t bytes);  // null: no memory left
bool release(Region region, void* p);         // reports what is wrong
size_t allocated_bytes(Region region);
std::string describe_address(size_t offset);  // "8 bytes past the end of the 400 bytes at ..."
void hand_out(size_t offset, size_t bytes);   // 0 bytes: takes back what was handed out there

}  // namespace emulator

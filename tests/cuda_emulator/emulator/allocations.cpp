// Where allocations lie, what part of them is handed out, and what was freed.
#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

constexpr size_t kPage = 4096;

struct Allocation {
  size_t bytes;
  bool handed_out_in_parts;
};
using ByOffset = std::map<size_t, Allocation>;

struct Heap {
  Heap(size_t start, size_t bytes) : start(start), bytes(bytes) {}
  const size_t start, bytes;
  size_t cursor = 0;  // allocations are placed from here on, so that freed addresses return late
  size_t used = 0;
  ByOffset live, freed;
};
Heap heaps[] = {
    {kPinnedStart, kPinnedBytes}, {kDeviceStart, kDeviceBytes}, {kDeviceStart + kDeviceBytes, kDeviceBytes}};
std::map<size_t, size_t> extents;  // what was handed out of allocations: offset and bytes

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// The first gap of `need` bytes at or after `from`; 0 if there is none.
size_t find_gap(const Heap& heap, size_t from, size_t need) {
  size_t at = from;
  auto next = heap.live.lower_bound(at);
  if (next != heap.live.begin()) {
    const auto& [start, allocation] = *std::prev(next);
    at = std::max(at, round_up(start + allocation.bytes, kPage) + kPage);
  }
  for (; next != heap.live.end() && next->first < at + need; ++next)
    at = round_up(next->first + next->second.bytes, kPage) + kPage;
  return at + need <= heap.start + heap.bytes ? at : 0;
}

// The last entry that starts at or before offset
template <class Map>
auto before(Map& map, size_t offset) {
  auto it = map.upper_bound(offset);
  return it == map.begin() ? map.end() : std::prev(it);
}

Heap& heap_of(size_t offset) { return heaps[is_pinned(offset) ? 0 : 1 + device_of(offset)]; }

void forget_extents(size_t offset, size_t bytes, uint8_t state) {
  auto it = before(extents, offset);
  if (it == extents.end()) it = extents.lower_bound(offset);
  while (it != extents.end() && it->first < offset + std::max<size_t>(bytes, 1)) {
    if (it->first + it->second <= offset && it->first != offset) {
      ++it;
      continue;
    }
    make_unaddressable(it->first, it->second, state);
    it = extents.erase(it);
  }
}

}  // namespace

void* allocate(Region region, size_t bytes) {
  Heap& heap = heaps[int(region)];
  const size_t charged = round_up(std::max<size_t>(bytes, 1), 512), need = round_up(charged, kPage) + kPage;
  if (charged < bytes || need > heap.bytes) return nullptr;
  if (region != Region::Pinned && heap.used + charged > settings.memory_limit) return nullptr;
  if (!heap.cursor) heap.cursor = heap.start;
  size_t at = find_gap(heap, heap.cursor, need);
  if (!at) at = find_gap(heap, heap.start, need);
  if (!at) return nullptr;
  heap.freed.erase(heap.freed.lower_bound(at), heap.freed.lower_bound(at + need));
  heap.cursor = at + need;
  heap.used += charged;
  heap.live[at] = {bytes, false};
  make_unaddressable(at, need, 0);
  make_addressable(at, bytes);
  return space + at;
}

bool release(Region region, void* p) {
  const size_t offset = space_offset(p);
  Heap& heap = heaps[int(region)];
  const auto found = heap.live.find(offset);
  if (found == heap.live.end()) {
    report(heap.freed.count(offset) ? "double free" : "free of a pointer that was not allocated", nullptr, nullptr,
           format("at %p", p));
    return false;
  }
  const size_t bytes = found->second.bytes;
  forget_extents(offset, bytes, kFreed);
  make_unaddressable(offset, bytes, kFreed);
  madvise(space + offset, round_up(bytes, kPage), MADV_DONTNEED);
  heap.used -= round_up(std::max<size_t>(bytes, 1), 512);
  heap.freed[offset] = found->second;
  heap.live.erase(found);
  return true;
}

size_t allocated_bytes(Region region) { return heaps[int(region)].used; }

std::string describe_address(size_t offset) {
  if (is_shared(offset)) {
    const size_t start = offset >= kDynamicSharedStart - kPage ? kDynamicSharedStart : kStaticSharedStart;
    return format("at byte %ld of its %s shared memory", long(offset) - long(start),
                  start == kDynamicSharedStart ? "dynamic" : "static");
  }
  if (!is_device(offset) && !is_pinned(offset)) return "at no allocation";
  const auto in = [offset](size_t start, size_t bytes) {
    if (offset < start + bytes) return format("at byte %zu of %zu", offset - start, bytes);
    return format("%zu bytes past the end of %zu bytes", offset - start - bytes, bytes);
  };
  Heap& heap = heap_of(offset);
  const auto live = before(heap.live, offset);
  const auto extent = before(extents, offset);
  if (extent != extents.end() && live != heap.live.end() && extent->first >= live->first)
    return in(extent->first, extent->second);
  if (const auto freed = before(heap.freed, offset);
      freed != heap.freed.end() && offset < freed->first + freed->second.bytes)
    return in(freed->first, freed->second.bytes);
  return live == heap.live.end() ? "at no allocation" : in(live->first, live->second.bytes);
}

void hand_out(size_t offset, size_t bytes) {
  Heap& heap = heap_of(offset);
  const auto live = before(heap.live, offset);
  if (live == heap.live.end() || offset + bytes > live->first + live->second.bytes) {
    report("memory handed out that is not part of an allocation", nullptr, nullptr, describe_address(offset));
    return;
  }
  if (!live->second.handed_out_in_parts) {
    live->second.handed_out_in_parts = true;
    make_unaddressable(live->first, live->second.bytes, 0);
  }
  forget_extents(offset, bytes, 0);
  extents[offset] = bytes;
  make_addressable(offset, bytes);
}

void take_back(size_t offset, size_t bytes) { forget_extents(offset, bytes, kFreed); }

}  // namespace emulator

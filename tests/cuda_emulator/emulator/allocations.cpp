// Where allocations lie, what part of them is handed out, and what was freed.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kReturnAfter = size_t(8) << 20;  // so many bytes later, freed addresses are used again
constexpr size_t kGiveBack = size_t(1) << 20;     // freed memory of this size goes back to the system

struct Allocation {
  size_t bytes;
  bool handed_out_in_parts;
};
using ByOffset = std::map<size_t, Allocation>;

struct Heap {
  Heap(size_t start, size_t bytes) : start(start), bytes(bytes) {}
  const size_t start, bytes;
  size_t cursor = 0;  // allocations are placed from here on
  size_t used = 0;
  ByOffset live, freed;
};
// Never destroyed: memory may be freed while the process ends.
Heap* const heaps =
    new Heap[]{{kPinnedStart, kPinnedBytes}, {kDeviceStart, kDeviceBytes}, {kDeviceStart + kDeviceBytes, kDeviceBytes}};
auto& extents = *new std::map<size_t, size_t>;     // what was handed out of allocations: offset and bytes
auto& taken_back = *new std::map<size_t, size_t>;  // and what was until it was given back

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

// To the system: memory, and the shadow of its accesses
void give_back(size_t offset, size_t bytes) {
  madvise(space + offset, bytes, MADV_DONTNEED);
  for (uint32_t* p : {shadow.writer, shadow.reader, shadow.other_reader})
    madvise(p + offset, bytes * sizeof(uint32_t), MADV_DONTNEED);
}

template <class Iterator>
bool contains(Iterator it, Iterator end, size_t offset) {
  return it != end && offset < it->first + it->second.bytes;
}

std::string relative(size_t offset, size_t start, size_t bytes) {
  if (offset < start) return format("%zu bytes before the start of %zu bytes", start - offset, bytes);
  if (offset < start + bytes) return format("at byte %zu of %zu", offset - start, bytes);
  return format("%zu bytes past the end of %zu bytes", offset - start - bytes, bytes);
}

}  // namespace

void* allocate(Region region, size_t bytes) {
  Heap& heap = heaps[int(region)];
  const size_t charged = round_up(std::max<size_t>(bytes, 1), 512), need = round_up(charged, kPage) + kPage;
  if (charged < bytes || need > heap.bytes) return nullptr;
  if (region != Region::Pinned && heap.used + charged > settings.memory_limit) return nullptr;
  // Not all of the region is used in turn: what was touched once stays in memory.
  if (!heap.cursor || heap.cursor > heap.start + 2 * heap.used + kReturnAfter) heap.cursor = heap.start;
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
  taken_back.erase(taken_back.lower_bound(offset), taken_back.lower_bound(offset + std::max<size_t>(bytes, 1)));
  make_unaddressable(offset, bytes, kFreed);
  if (bytes >= kGiveBack) give_back(offset, round_up(bytes, kPage));
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
  Heap& heap = heap_of(offset);
  if (const auto freed = before(heap.freed, offset); contains(freed, heap.freed.end(), offset))
    return relative(offset, freed->first, freed->second.bytes);
  if (const auto part = before(taken_back, offset); part != taken_back.end() && offset < part->first + part->second)
    return relative(offset, part->first, part->second);
  // The nearest of what is alive: parts that were handed out, or else whole allocations
  const auto live = before(heap.live, offset);
  const bool in_parts = live != heap.live.end() && live->second.handed_out_in_parts;
  size_t start = 0, bytes = 0, distance = SIZE_MAX;
  const auto consider = [&](size_t s, size_t n) {
    const size_t d = offset < s ? s - offset : offset < s + n ? 0 : offset - s - n;
    if (d < distance) start = s, bytes = n, distance = d;
  };
  for (auto it = live == heap.live.end() ? heap.live.begin() : live; it != heap.live.end(); ++it) {
    if (it != live || !in_parts) consider(it->first, it->second.bytes);
    if (it->first > offset) break;
  }
  if (in_parts) {
    const auto part = before(extents, offset);
    for (auto it = part == extents.end() ? extents.begin() : part; it != extents.end(); ++it) {
      consider(it->first, it->second);
      if (it->first > offset) break;
    }
  }
  return distance == SIZE_MAX ? "at no allocation" : relative(offset, start, bytes);
}

void hand_out(size_t offset, size_t bytes) {
  if (const auto part = extents.find(offset); bytes == 0 && part != extents.end()) {
    taken_back[offset] = part->second;
    return forget_extents(offset, 0, kFreed);
  }
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
  if (const auto old = taken_back.find(offset); old != taken_back.end()) {
    make_unaddressable(offset, old->second, 0);
    taken_back.erase(old);
  }
  forget_extents(offset, bytes, 0);
  extents[offset] = bytes;
  make_addressable(offset, bytes);
}

}  // namespace emulator

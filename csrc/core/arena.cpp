#include "core/arena.h"

#include <sys/mman.h>

#include <cstdint>

#include "core/parallel.h"

namespace skipway {
namespace {

constexpr size_t kRange = size_t(1) << 34, kShortRange = size_t(1) << 28;  // addresses, which cost nothing
constexpr size_t kTouched = size_t(64) << 20;                              // larger blocks may never be used as a whole

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
size_t page_of(const char* p) { return reinterpret_cast<uintptr_t>(p) / Arena::kPage; }
char* address_of(size_t page) { return reinterpret_cast<char*>(page * Arena::kPage); }

char* set_aside(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

}  // namespace

Arena::Block Arena::get(size_t bytes) {
  auto best = free_by_size_.lower_bound({bytes, nullptr});
  if (best == free_by_size_.end()) {
    if (!grow(bytes)) return {};
    best = free_by_size_.lower_bound({bytes, nullptr});
  }
  const auto [size, data] = *best;
  remove_free(free_.find(data));
  if (size > bytes) add_free(data + bytes, size - bytes);
  used_[data] = bytes;
  return hold(data, bytes);
}

void Arena::put(void* data) {
  const auto used = used_.find(data);
  char* begin = static_cast<char*>(data);
  char* end = begin + used->second;
  used_.erase(used);
  auto next = free_.lower_bound(begin);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      begin = before->first;
      remove_free(before);
    }
  }
  if (next != free_.end() && next->first == end) {
    end += next->second;
    remove_free(next);
  }
  add_free(begin, size_t(end - begin));
}

void Arena::give_back() {
  for (const auto& [data, bytes] : free_) {
    for (size_t page = page_of(data + kPage - 1); address_of(page + 1) <= data + bytes; ++page)
      if (held_.erase(page)) madvise(address_of(page), kPage, MADV_DONTNEED);
  }
}

bool Arena::grow(size_t bytes) {
  char* begin = end_;
  if (auto last = free_.lower_bound(end_); last != free_.begin()) {
    --last;
    if (last->first + last->second == end_) begin = last->first;
  }
  const size_t more = round_up(bytes - size_t(end_ - begin), kPage);
  if (size_t(limit_ - end_) < more) return begin_range(round_up(bytes, kPage));
  if (mprotect(end_, more, PROT_READ | PROT_WRITE)) return false;
  if (begin != end_) remove_free(free_.find(begin));
  end_ += more;
  add_free(begin, size_t(end_ - begin));
  return true;
}

bool Arena::begin_range(size_t bytes) {
  size_t size = 0;
  char* begin = nullptr;
  for (size_t least : {kRange, kShortRange, size_t(0)}) {  // addresses may be limited (ulimit -v)
    size = (bytes > least ? bytes : least) + kPage;
    if ((begin = set_aside(size))) break;
  }
  if (!begin) return false;
  char* aligned = address_of(page_of(begin + kPage - 1));
  if (mprotect(aligned, bytes, PROT_READ | PROT_WRITE)) {
    munmap(begin, size);
    return false;
  }
#ifdef MADV_HUGEPAGE
  madvise(aligned, size_t(begin + size - aligned), MADV_HUGEPAGE);
#endif
  end_ = aligned + bytes;
  limit_ = address_of(page_of(begin + size));
  add_free(aligned, bytes);
  return true;
}

void Arena::add_free(char* data, size_t bytes) {
  free_.emplace(data, bytes);
  free_by_size_.emplace(bytes, data);
}

void Arena::remove_free(std::map<char*, size_t>::iterator block) {
  free_by_size_.erase({block->second, block->first});
  free_.erase(block);
}

Arena::Block Arena::hold(char* data, size_t bytes) {
  Block block{data, nullptr, nullptr};
  for (size_t page = page_of(data); page <= page_of(data + bytes - 1); ++page) {
    if (!held_.insert(page).second) continue;
    if (!block.fresh_begin) block.fresh_begin = address_of(page);
    block.fresh_end = address_of(page + 1);
  }
  return block;
}

char* Arena::touched(const Block& block) {
#ifdef MADV_POPULATE_WRITE
  const size_t bytes = size_t(block.fresh_end - block.fresh_begin);
  if (bytes <= kTouched) {
    parallel_tasks(int64_t(bytes / kPage),
                   [&](int64_t i) { madvise(block.fresh_begin + size_t(i) * kPage, kPage, MADV_POPULATE_WRITE); });
  }
#endif
  return block.data;
}

}  // namespace skipway

// Large blocks of CPU memory, cut from one range of addresses. A block comes from the smallest free one that is large
// enough (among equals, from that at the lowest address), whose rest stays free; a block that is given back joins its
// free neighbours; and where none is large enough, the range grows at its end, by what the free block there lacks. So
// memory that one step has used for a tensor of one size serves the next for others, and little more is held than was
// in use at the worst moment. Addresses follow from the order of calls alone. The system provides memory in pages of
// 2 MB, where it can; a page counts as held from when a block first covers it until give_back(). Each costs the time
// to clear it, a tenth of a millisecond and more, and threads that touch it first at the same time each clear one: so
// get() says which pages are new, and touched() has each thread touch others. Not thread-safe, except touched().
#pragma once
#include <cstddef>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace skipway {

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kNoArenas = true;  // blocks are malloc's own, so that what is written behind one is found
#else
inline constexpr bool kNoArenas = false;
#endif

class Arena {
 public:
  static constexpr size_t kPage = size_t(1) << 21;
  struct Block {
    char* data = nullptr;         // null: out of memory
    char* fresh_begin = nullptr;  // pages that are new, and perhaps some between them that are not
    char* fresh_end = nullptr;
  };
  Block get(size_t bytes);  // a multiple of 64, as are addresses
  void put(void* data);
  // The block's memory, once its new pages are there. May throw, as parallel_run() may: then the block is still taken.
  static char* touched(const Block& block);
  size_t held() const { return held_.size() * kPage; }
  void give_back();  // whole pages that are free, to the system

 private:
  bool grow(size_t bytes);
  bool begin_range(size_t bytes);
  void add_free(char* data, size_t bytes);
  void remove_free(std::map<char*, size_t>::iterator block);
  Block hold(char* data, size_t bytes);

  std::map<char*, size_t> free_;
  std::set<std::pair<size_t, char*>> free_by_size_;
  std::unordered_map<void*, size_t> used_;
  std::unordered_set<size_t> held_;         // pages
  char *end_ = nullptr, *limit_ = nullptr;  // of what may be touched, and of the addresses that are set aside
};

}  // namespace skipway

#include "ops/sort.h"

#include "core/parallel.h"
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {
namespace {

// Sorting compares unsigned integers that stand in the order of the elements.
struct Entry {
  uint64_t key;
  int64_t position;
};

SW_INLINE uint64_t key_of(double v) {
  if (v != v) return ~uint64_t(0);
  v += 0.0;  // -0 equals 0
  uint64_t u;
  __builtin_memcpy(&u, &v, 8);
  return u >> 63 ? ~u : u | uint64_t(1) << 63;
}
SW_INLINE uint64_t key_of(int64_t v) { return uint64_t(v) ^ uint64_t(1) << 63; }

template <class T>
void read_keys(const T* x, int64_t n, int64_t stride, bool descending, Entry* out) {
  using Wide = __typeof__(accumulate_type<T>(0) * 1);
  for (int64_t i = 0; i < n; ++i) {
    uint64_t key;
    if constexpr (Wide(0.5) != Wide(0)) {
      key = key_of(double(x[i * stride]));
    } else {
      key = key_of(int64_t(x[i * stride]));
    }
    out[i] = {descending ? ~key : key, i};
  }
}

constexpr int64_t kRun = 16;

void insertion_sort(Entry* e, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const Entry moving = e[i];
    int64_t j = i;
    for (; j > 0 && e[j - 1].key > moving.key; --j) e[j] = e[j - 1];
    e[j] = moving;
  }
}

// Stable merge sort from the bottom up; the result is in `a` or `b`, whichever is returned.
Entry* merge_sort(Entry* a, Entry* b, int64_t n) {
  for (int64_t i = 0; i < n; i += kRun) insertion_sort(a + i, n - i < kRun ? n - i : kRun);
  for (int64_t width = kRun; width < n; width *= 2) {
    for (int64_t i = 0; i < n; i += 2 * width) {
      const int64_t mid = i + width < n ? i + width : n, end = mid + width < n ? mid + width : n;
      int64_t left = i, right = mid;
      for (int64_t k = i; k < end; ++k) {
        const bool from_left = left < mid && (right >= end || a[left].key <= a[right].key);
        b[k] = from_left ? a[left++] : a[right++];
      }
    }
    Entry* swap = a;
    a = b;
    b = swap;
  }
  return a;
}

// The k smallest keys in order, kept sorted while the others pass by.
void select_smallest(const Entry* e, int64_t n, int64_t k, Entry* best) {
  int64_t held = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (held == k && !(e[i].key < best[k - 1].key)) continue;
    int64_t j = held < k ? held++ : k - 1;
    for (; j > 0 && best[j - 1].key > e[i].key; --j) best[j] = best[j - 1];
    best[j] = e[i];
  }
}

}  // namespace

void sort_positions(const SortArgs& a) {
  const int64_t grain = 4096 / (a.n + 1) + 1;
  dispatch_all(a.dtype, [&]<class T>(Type<T>) {
    const T* x = static_cast<const T*>(a.x);
    parallel_for(a.outer * a.inner, grain, [&](int64_t begin, int64_t end) {
      Entry* entries = static_cast<Entry*>(thread_scratch(0, size_t(2 * a.n) * sizeof(Entry)));
      for (int64_t line = begin; line < end; ++line) {
        const int64_t o = line / a.inner, i = line % a.inner;
        read_keys(x + o * a.n * a.inner + i, a.n, a.inner, a.descending, entries);
        const Entry* sorted = entries + a.n;
        if (a.k <= 32 && a.k < a.n) {
          select_smallest(entries, a.n, a.k, entries + a.n);
        } else {
          sorted = merge_sort(entries, entries + a.n, a.n);
        }
        int64_t* to = a.positions + o * a.k * a.inner + i;
        for (int64_t j = 0; j < a.k; ++j) to[j * a.inner] = sorted[j].position;
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

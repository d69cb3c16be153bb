// Stable sorting along lines. Tiles of up to 2048 elements are sorted in shared memory by a bitonic network; longer
// lines are then merged pairwise, or, when only the first few are wanted, keep that many of each tile and go on with
// those. Entries are compared by key, then position: all differ, so the order is stable and the same in every run.
// Bound by shared memory in the tiles; at most 64 registers, 1024 threads of a multiprocessor.
#include <utility>

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/sort.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 2048;
constexpr int64_t kMostKept = kTile / 4;  // of a tile, for a selection

// Unsigned integers in the order of the elements. -0 equals 0; NaN is the largest.
__device__ __forceinline__ uint64_t ordered(double v) {
  if (v != v) return ~uint64_t(0);
  v += 0.0;
  uint64_t u;
  memcpy(&u, &v, 8);
  return u >> 63 ? ~u : u | uint64_t(1) << 63;
}
__device__ __forceinline__ uint32_t ordered(float v) {
  if (v != v) return ~uint32_t(0);
  v += 0.0f;
  uint32_t u;
  memcpy(&u, &v, 4);
  return u >> 31 ? ~u : u | uint32_t(1) << 31;
}

// 32-bit keys with positions of 32 bits, one integer to compare.
struct Narrow {
  uint64_t bits;
  static __device__ __forceinline__ Narrow of(const void* x, DType d, int64_t i, int64_t position, bool descending) {
    const uint32_t key =
        is_floating(d) ? ordered(read_as<float>(x, d, i)) : uint32_t(read_as<int64_t>(x, d, i)) ^ 1u << 31;
    return {uint64_t(descending ? ~key : key) << 32 | uint32_t(position)};
  }
  static __device__ __forceinline__ Narrow last() { return {~uint64_t(0)}; }
  __device__ __forceinline__ bool operator<(const Narrow& b) const { return bits < b.bits; }
  __device__ __forceinline__ int64_t position() const { return int64_t(uint32_t(bits)); }
};
struct Wide {
  uint64_t key;
  int64_t at;
  static __device__ __forceinline__ Wide of(const void* x, DType d, int64_t i, int64_t position, bool descending) {
    const uint64_t key =
        is_floating(d) ? ordered(read_as<double>(x, d, i)) : uint64_t(read_as<int64_t>(x, d, i)) ^ uint64_t(1) << 63;
    return {descending ? ~key : key, position};
  }
  static __device__ __forceinline__ Wide last() { return {~uint64_t(0), INT64_MAX}; }
  __device__ __forceinline__ bool operator<(const Wide& b) const { return key != b.key ? key < b.key : at < b.at; }
  __device__ __forceinline__ int64_t position() const { return at; }
};

struct SortTask {
  int64_t outer, n, inner;  // lines of n elements each
  int64_t tiles;            // of a line
  int log_size;             // of a tile
  DType dtype;
  bool descending;
  const void* x;       // [outer][n][inner], unless
  const void* from;    // [lines][n] entries
  int64_t keep;        // of each tile
  void* to;            // [lines][tiles * keep] entries, the last tile's keep being cut at n; null:
  int64_t* positions;  // [outer][keep][inner]
  int64_t kept;        // entries of a line in `to`
};

template <class E>
struct SortBuffer {
  E v[kTile];
};

// Sorts the runs of 2^log_size entries in v.
template <class E>
__device__ __forceinline__ void sort_runs(E* v, int log_size) {
  for (int level = 1; level <= log_size; ++level) {
    for (int half = level - 1; half >= 0; --half) {
      const int distance = 1 << half;
      __syncthreads();
      for (int pair = threadIdx.x; pair < kTile / 2; pair += kThreads) {
        const int low = (pair >> half << (half + 1)) | (pair & (distance - 1)), high = low + distance;
        const bool ascending = level == log_size || (low >> level & 1) == 0;
        const E a = v[low], b = v[high];
        if ((b < a) == ascending) v[low] = b, v[high] = a;
      }
    }
  }
  __syncthreads();
}

// A block sorts kTile >> log_size tiles.
template <class E>
__global__ void __launch_bounds__(kThreads, 4) sort_tiles(SortTask a) {
  auto& buffer = rt::dyn_shared<SortBuffer<E>>();
  const int64_t all = a.outer * a.inner * a.tiles, together = kTile >> a.log_size;
  const int mask = (1 << a.log_size) - 1;
  for (int64_t first = blockIdx.x * together; first < all; first += gridDim.x * together) {
    __syncthreads();  // the tiles before have been written
    for (int i = threadIdx.x; i < kTile; i += kThreads) {
      const int64_t tile = first + (i >> a.log_size), line = tile / a.tiles;
      const int64_t at = ((tile - line * a.tiles) << a.log_size) + (i & mask);
      E entry = E::last();
      if (tile < all && at < a.n) {
        const int64_t o = line / a.inner, column = line - o * a.inner;
        entry = a.from ? static_cast<const E*>(a.from)[line * a.n + at]
                       : E::of(a.x, a.dtype, (o * a.n + at) * a.inner + column, at, a.descending);
      }
      buffer.v[i] = entry;
    }
    sort_runs(buffer.v, a.log_size);
    for (int i = threadIdx.x; i < kTile; i += kThreads) {
      const int64_t tile = first + (i >> a.log_size), line = tile / a.tiles, rank = i & mask;
      const int64_t left = a.n - ((tile - line * a.tiles) << a.log_size);
      if (tile >= all || rank >= a.keep || rank >= left) continue;
      if (a.to) {
        static_cast<E*>(a.to)[line * a.kept + (tile - line * a.tiles) * a.keep + rank] = buffer.v[i];
      } else {
        const int64_t o = line / a.inner, column = line - o * a.inner;
        a.positions[(o * a.keep + rank) * a.inner + column] = buffer.v[i].position();
      }
    }
  }
}

// Merges neighbouring sorted runs of each line: an entry goes to its rank in its own run plus the number of smaller
// entries in the other.
template <class E>
__global__ void __launch_bounds__(kThreads) merge_runs(int64_t lines, int64_t n, int64_t run, const E* from, E* to) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < lines * n; i += stride) {
    const int64_t line = i / n, at = i - line * n, own = at / run, pair = own / 2 * 2 * run;
    const int64_t other = (own ^ 1) * run;
    const E entry = from[i];
    int64_t low = other < n ? other : n, high = other + run < n ? other + run : n;
    const int64_t start = low;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (from[line * n + middle] < entry) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    to[line * n + pair + (at - own * run) + (low - start)] = entry;
  }
}

template <class E>
__global__ void __launch_bounds__(kThreads)
    write_positions(int64_t outer, int64_t n, int64_t inner, int64_t k, const E* from, int64_t* positions) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < outer * k * inner; i += stride) {
    const int64_t column = i % inner, rank = i / inner % k, o = i / inner / k;
    positions[i] = from[(o * inner + column) * n + rank].position();
  }
}

template <class E>
void launch_tiles(SortTask& task, const Stream& stream) {
  task.log_size = 1;
  while (task.log_size < 11 && (int64_t(1) << task.log_size) < task.n) ++task.log_size;
  task.tiles = ceil_div(task.n, int64_t(1) << task.log_size);
  const int64_t all = task.outer * task.inner * task.tiles;
  rt::launch(sort_tiles<E>,
             {grid_for(all, kTile >> task.log_size, stream), kThreads, sizeof(SortBuffer<E>), stream.handle}, task);
}

// Entries of a line after each tile has kept its first `keep`.
int64_t kept_of(int64_t n, int64_t keep) {
  const int64_t last = n % kTile;
  return n / kTile * keep + (last < keep ? last : keep);
}

template <class E>
void sort_lines(const SortArgs& a, const Stream& stream) {
  SortTask task{};
  task.outer = a.outer;
  task.n = a.n;
  task.inner = a.inner;
  task.dtype = a.dtype;
  task.descending = a.descending;
  task.x = a.x;
  task.keep = a.k;
  if (a.n <= kTile) {
    task.positions = a.positions;
    return launch_tiles<E>(task, stream);
  }
  const int64_t lines = a.outer * a.inner;
  const bool select = a.k <= kMostKept;
  const int64_t held = select ? kept_of(a.n, a.k) : a.n;
  const Workspace first(stream, size_t(lines * held) * sizeof(E)), second(stream, size_t(lines * held) * sizeof(E));
  E *from = first.template as<E>(), *to = second.template as<E>();
  task.to = from;
  if (select) {
    task.kept = held;
    launch_tiles<E>(task, stream);
    for (task.n = held; task.n > kTile; task.n = task.kept) {
      task.from = from;
      task.to = to;
      task.kept = kept_of(task.n, a.k);
      launch_tiles<E>(task, stream);
      std::swap(from, to);
    }
    task.from = from;
    task.to = nullptr;
    task.positions = a.positions;
    return launch_tiles<E>(task, stream);
  }
  task.keep = kTile;
  task.kept = a.n;
  launch_tiles<E>(task, stream);
  for (int64_t run = kTile; run < a.n; run *= 2) {
    rt::launch(merge_runs<E>, {grid_for(lines * a.n, kThreads, stream), kThreads, 0, stream.handle}, lines, a.n, run,
               from, to);
    std::swap(from, to);
  }
  rt::launch(write_positions<E>, {grid_for(lines * a.k, kThreads, stream), kThreads, 0, stream.handle}, a.outer, a.n,
             a.inner, a.k, from, a.positions);
}

}  // namespace

SW_CUDA_KERNEL(sort_positions, a, stream) {
  const bool wide = a.dtype == DType::Float64 || a.dtype == DType::Int64 || a.n > INT64_C(0xffffffff);
  if (wide) {
    sort_lines<Wide>(a, stream);
  } else {
    sort_lines<Narrow>(a, stream);
  }
}

}  // namespace skipway::cuda

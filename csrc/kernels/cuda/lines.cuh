// Work along lines: x[outer][n][inner] dense in memory, a line being x[o][0..n)[i]. A block's threads are laid over
// columns (neighbours in memory), steps along the line, and outer indices, all powers of two, so that reads coalesce
// for every shape: rows (inner == 1), columns, and what lies between.
#pragma once
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace skipway::cuda {

inline constexpr int kLineThreads = 256;
// Blocks per launch. A constant: how lines are cut depends on their shape alone, and so do the bits of the result.
inline constexpr int64_t kLineBlocks = 1024;

// Where a thread stands in a task of Lines.
struct LinePlace {
  int64_t outer, column, begin, end;  // its line, and the steps of its chunk
  int64_t chunk;
  int y;        // its first step: begin + y
  bool inside;  // is there such a line?
};

struct Lines {
  int64_t outer, steps, columns;  // a step or column may stand for a pack of elements
  int64_t chunk, chunks;          // steps of one task, and tasks of one line
  int64_t column_tiles, outer_tiles;
  int log_x, log_y;

  Lines() = default;
  // split: long lines are cut into several tasks, of 16 to 64 steps of a thread.
  Lines(int64_t outer, int64_t steps, int64_t columns, bool split) : outer(outer), steps(steps), columns(columns) {
    log_x = log_y = 0;
    while (log_x < 5 && (int64_t(1) << log_x) < columns) ++log_x;
    while (log_x + log_y < 8 && (int64_t(8) << log_y) <= steps) ++log_y;
    column_tiles = ceil_div(columns, int64_t(1) << log_x);
    outer_tiles = ceil_div(outer, int64_t(kLineThreads) >> (log_x + log_y));
    const int64_t tiles = column_tiles * outer_tiles,
                  wanted = tiles < 1 || tiles > kLineBlocks ? 1 : kLineBlocks / tiles;
    const int64_t least = int64_t(16) << log_y, most = int64_t(64) << log_y, even = ceil_div(steps, wanted);
    chunk = !split ? steps : even < least ? least : even < most ? even : most;
    chunks = chunk > 0 ? ceil_div(steps, chunk) : 1;
    if (chunks < 1) chunks = 1;
  }
  int64_t tasks() const { return column_tiles * outer_tiles * chunks; }
  unsigned grid() const { return unsigned(tasks() < kLineBlocks ? tasks() : kLineBlocks); }
  rt::At at(const Stream& stream, size_t smem = 0) const { return {grid(), kLineThreads, smem, stream.handle}; }

  __device__ __forceinline__ int64_t task_count() const { return column_tiles * outer_tiles * chunks; }
  __device__ __forceinline__ int64_t stride() const { return int64_t(1) << log_y; }  // steps to a thread's next one
  __device__ __forceinline__ LinePlace place(int64_t task) const {
    const int t = threadIdx.x;
    LinePlace p;
    const int64_t tile = task / column_tiles, outer_tile = tile / chunks;
    p.chunk = tile - outer_tile * chunks;
    p.column = ((task - tile * column_tiles) << log_x) + (t & ((1 << log_x) - 1));
    p.y = (t >> log_x) & ((1 << log_y) - 1);
    p.outer = outer_tile * (kLineThreads >> (log_x + log_y)) + (t >> (log_x + log_y));
    p.begin = p.chunk * chunk;
    p.end = p.begin + chunk < steps ? p.begin + chunk : steps;
    p.inside = p.column < columns && p.outer < outer;
    if (!p.inside) p.end = p.begin;
    return p;
  }
};

template <class A>
struct LineBuffer {
  A v[kLineThreads];
};

// combine(a, b) over the threads that share a line, pairwise; all of them get the result. Every thread of the block
// must call. combine is commutative to the bit.
template <class A, class F>
__device__ __forceinline__ A merge_line(const Lines& l, A v, const F& combine) {
  constexpr bool kShuffles = sizeof(A) <= 8;
  const int t = threadIdx.x, span = 1 << (l.log_x + l.log_y), least = 1 << l.log_x;
  const int last = kShuffles && least < kWarp ? kWarp : least;  // distances from here on go by shared memory
  int distance = span / 2;
  if (distance >= last) {
    auto& part = rt::static_shared<LineBuffer<A>>();
    __syncthreads();  // whoever read `part` last is done
    part.v[t] = v;
    __syncthreads();
    for (; distance >= last; distance /= 2) {
      if ((t & (span - 1)) < distance) part.v[t] = v = combine(v, part.v[t + distance]);
      __syncthreads();
    }
    v = part.v[(t & ~(span - 1)) | (t & (last - 1))];
  }
  if constexpr (kShuffles) {
    for (; distance >= least; distance /= 2) v = combine(v, __shfl_xor_sync(kFullWarp, v, distance));
  }
  return v;
}
template <class A>
__device__ __forceinline__ A sum_line(const Lines& l, A v) {
  return merge_line(l, v, Sum{});
}

}  // namespace skipway::cuda

#include "ops/copy.h"

#include "kernels/walk.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTile = 16;

template <class U>
SW_INLINE void transpose_tile(U* to, int64_t to_stride, const U* from, int64_t from_stride, int64_t rows,
                              int64_t cols) {
  if (rows == kTile && cols == kTile) {
    U tile[kTile][kTile];
    for (int c = 0; c < kTile; ++c)
      for (int r = 0; r < kTile; ++r) tile[r][c] = from[c * from_stride + r];
    for (int r = 0; r < kTile; ++r) __builtin_memcpy(to + r * to_stride, tile[r], sizeof tile[r]);
    return;
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) to[r * to_stride + c] = from[c * from_stride + r];
}

// to[r * to_stride + c] = from[c * from_stride + r]: reads run along r, writes along c, so both stay within a few
// lines.
template <class U>
void transpose(U* to, int64_t to_stride, const U* from, int64_t from_stride, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r += kTile) {
    const int64_t height = rows - r < kTile ? rows - r : kTile;
    for (int64_t c = 0; c < cols; c += kTile) {
      const int64_t width = cols - c < kTile ? cols - c : kTile;
      transpose_tile(to + r * to_stride + c, to_stride, from + c * from_stride + r, from_stride, height, width);
    }
  }
}

// The dimension along which src is dense while dst is dense along the innermost one; -1 when this is no transpose.
int transposed_dim(const CopyArgs& a) {
  if (a.dst.dtype != a.src.dtype || a.ndim < 2) return -1;
  const int inner = a.ndim - 1;
  if (a.dst_strides[inner] != 1 || a.src_strides[inner] <= 1) return -1;
  for (int d = 0; d < inner; ++d)
    if (a.src_strides[d] == 1 && a.sizes[d] > 3) return d;
  return -1;
}

// Every (outer index, block of rows) is one task: rows run along dimension d, columns along the innermost one.
void copy_transposed(const CopyArgs& a, int d) {
  const int inner = a.ndim - 1;
  const int64_t rows = a.sizes[d], cols = a.sizes[inner];
  int64_t block = kGrain / cols / kTile * kTile;
  if (block < kTile) block = kTile;
  const int64_t blocks = (rows + block - 1) / block;
  const int64_t outer = a.numel / (rows * cols);
  const int64_t per_task = rows * cols < kGrain ? (kGrain + rows * cols - 1) / (rows * cols) : 1;
  parallel_for(outer * blocks, per_task, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t rest = task / blocks, to = 0, from = 0;
      for (int k = inner - 1; k >= 0; --k) {
        if (k == d) continue;
        to += rest % a.sizes[k] * a.dst_strides[k];
        from += rest % a.sizes[k] * a.src_strides[k];
        rest /= a.sizes[k];
      }
      const int64_t first = task % blocks * block;
      const int64_t count = rows - first < block ? rows - first : block;
      dispatch_bytes(a.dst.dtype, [&]<class U>(Type<U>) {
        transpose(static_cast<U*>(a.dst.data) + to + first * a.dst_strides[d], a.dst_strides[d],
                  static_cast<const U*>(a.src.data) + from + first, a.src_strides[inner], count, cols);
      });
    }
  });
}

void copy_dense(const CopyArgs& a) {
  parallel_for(a.numel, kGrain, [&](int64_t begin, int64_t end) {
    char* to = static_cast<char*>(a.dst.data) + begin * size_of(a.dst.dtype);
    const char* from = static_cast<const char*>(a.src.data) + begin * size_of(a.src.dtype);
    convert_run(a.dst.dtype, to, a.src.dtype, from, end - begin);
  });
}

}  // namespace

void copy_strided(const CopyArgs& a) {
  if (a.dst.dense() && a.src.dense()) return copy_dense(a);
  if (const int d = transposed_dim(a); d >= 0) return copy_transposed(a, d);
  parallel_for(a.numel, kGrain, [&](int64_t begin, int64_t end) {
    alignas(64) char chunk[kChunk * 8];
    const bool fixed = a.src.period == 1;
    if (fixed) walk_read(a.src, 0, end - begin < kChunk ? end - begin : kChunk, a.dst.dtype, chunk);
    for (int64_t pos = begin; pos < end; pos += kChunk) {
      const int64_t count = end - pos < kChunk ? end - pos : kChunk;
      if (!fixed && a.dst.dense()) {
        walk_read(a.src, pos, count, a.dst.dtype, static_cast<char*>(a.dst.data) + pos * size_of(a.dst.dtype));
        continue;
      }
      if (!fixed) walk_read(a.src, pos, count, a.dst.dtype, chunk);
      walk_write(a.dst, pos, count, a.dst.dtype, chunk);
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway

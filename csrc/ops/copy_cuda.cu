// Copies and conversions. Memory-bound: one read and one write of every element.
#include "kernels/cuda/walk.cuh"
#include "ops/copy.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;  // of a transpose: 32 x 32 elements through shared memory

// Both sides dense, of one dtype: bytes.
template <int N>
__global__ void __launch_bounds__(kThreads) copy_bytes(int64_t n, const uint8_t* from, uint8_t* to) {
  for_packs<N>(n, [&]<int count>(int64_t i, Type<char[count]>) { store_pack(to + i, load_pack<count>(from + i)); });
}

// Any strides, one element size: the bits are moved.
template <class U>
__global__ void __launch_bounds__(kThreads) copy_elements(int64_t n, DeviceWalk from, DeviceWalk to) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride)
    static_cast<U*>(to.data)[to.offset(i)] = static_cast<const U*>(from.data)[from.offset(i)];
}

// Any strides and dtypes, by way of the compute type T.
template <class T>
__global__ void __launch_bounds__(kThreads) copy_converted(int64_t n, DeviceWalk from, DeviceWalk to) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) to.write<T>(i, from.read<T>(i));
}

struct Transpose {
  int64_t rows, cols, outer;       // elements along the source's dense dimension, along the result's, and batches
  int64_t from_stride, to_stride;  // from[c * from_stride + r], to[r * to_stride + c]
  int ndim;                        // of the batch
  int64_t sizes[kMaxDims], from_strides[kMaxDims], to_strides[kMaxDims];
};

template <class U>
struct TransposeTile {
  U v[kTile][kTile + 1];  // one more column: no bank conflicts by columns
};

template <class U>
__global__ void __launch_bounds__(kThreads) copy_transposed(Transpose t, const U* from, U* to) {
  auto& tile = rt::static_shared<TransposeTile<U>>();
  const int64_t row_tiles = (t.rows + kTile - 1) / kTile, col_tiles = (t.cols + kTile - 1) / kTile;
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  for (int64_t task = blockIdx.x; task < t.outer * row_tiles * col_tiles; task += gridDim.x) {
    const int64_t col0 = task % col_tiles * kTile, row0 = task / col_tiles % row_tiles * kTile;
    int64_t rest = task / col_tiles / row_tiles, source = 0, target = 0;
    for (int d = t.ndim - 1; d >= 0; --d) {
      source += rest % t.sizes[d] * t.from_strides[d];
      target += rest % t.sizes[d] * t.to_strides[d];
      rest /= t.sizes[d];
    }
    for (int c = y; c < kTile; c += kThreads / kTile)
      if (row0 + x < t.rows && col0 + c < t.cols) tile.v[x][c] = from[source + (col0 + c) * t.from_stride + row0 + x];
    __syncthreads();
    for (int r = y; r < kTile; r += kThreads / kTile)
      if (row0 + r < t.rows && col0 + x < t.cols) to[target + (row0 + r) * t.to_stride + col0 + x] = tile.v[r][x];
    __syncthreads();
  }
}

// The transpose that this copy is, if it is one: the source dense along one dimension, the result along the innermost.
bool as_transpose(const CopyArgs& a, Transpose& t) {
  const int inner = a.ndim - 1;
  if (a.dst.dtype != a.src.dtype || !a.src.data || a.ndim < 2) return false;
  if (a.dst_strides[inner] != 1 || a.src_strides[inner] <= 1) return false;
  int dense = -1;
  for (int d = 0; d < inner; ++d)
    if (a.src_strides[d] == 1 && a.sizes[d] > 3) dense = d;
  if (dense < 0) return false;
  t = {a.sizes[dense],
       a.sizes[inner],
       a.numel / (a.sizes[dense] * a.sizes[inner]),
       a.src_strides[inner],
       a.dst_strides[dense],
       0,
       {},
       {},
       {}};
  for (int d = 0; d < inner; ++d) {
    if (d == dense) continue;
    t.sizes[t.ndim] = a.sizes[d];
    t.from_strides[t.ndim] = a.src_strides[d];
    t.to_strides[t.ndim++] = a.dst_strides[d];
  }
  return true;
}

void copy_dense(const CopyArgs& a, const Stream& stream) {
  const int64_t n = a.numel * size_of(a.dst.dtype);
  const auto* from = static_cast<const uint8_t*>(a.src.data);
  auto* to = static_cast<uint8_t*>(a.dst.data);
  const bool packs = packs_at<uint8_t>(from, 0) && packs_at<uint8_t>(to, 0);
  rt::launch(packs ? copy_bytes<16> : copy_bytes<1>,
             {grid_for(packs ? ceil_div(n, 16) : n, kThreads, stream), kThreads, 0, stream.handle}, n, from, to);
}

}  // namespace

SW_CUDA_KERNEL(copy_strided, a, stream) {
  if (a.numel == 0) return;
  const bool same = a.src.dtype == a.dst.dtype && a.src.data;
  if (same && a.src.dense() && a.dst.dense()) return copy_dense(a, stream);
  Transpose t;
  if (as_transpose(a, t)) {
    const int64_t tiles = t.outer * ceil_div(t.rows, kTile) * ceil_div(t.cols, kTile);
    dispatch_bytes(a.dst.dtype, [&]<class U>(Type<U>) {
      rt::launch(copy_transposed<U>, {grid_for(tiles, 1, stream), kThreads, 0, stream.handle}, t,
                 static_cast<const U*>(a.src.data), static_cast<U*>(a.dst.data));
    });
    return;
  }
  const DeviceWalk from(a.src, a.numel), to(a.dst, a.numel);
  const rt::At at{grid_for(a.numel, kThreads, stream), kThreads, 0, stream.handle};
  if (same) {
    dispatch_bytes(a.dst.dtype, [&]<class U>(Type<U>) { rt::launch(copy_elements<U>, at, a.numel, from, to); });
    return;
  }
  // A conversion that keeps every value of the source: integers by way of int64, floats of float or double.
  const DType source = compute_dtype(a.src.dtype);
  dispatch_compute(source, [&]<class T>(Type<T>) { rt::launch(copy_converted<T>, at, a.numel, from, to); });
}

}  // namespace skipway::cuda

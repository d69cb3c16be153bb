// Moving elements to and from positions. Memory-bound: each element is read and written once, beside the offsets.
#include "kernels/cuda/pack.cuh"
#include "ops/index.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) find_offsets(OffsetArgs a, Fault* fault) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < a.count; i += stride) {
    int64_t offset = 0, rest = i;
    for (int d = a.base_dims - 1; d >= 0; --d) {
      offset += rest % a.base_sizes[d] * a.base_strides[d];
      rest /= a.base_sizes[d];
    }
    bool good = true;
    for (int d = 0; d < a.indices; ++d) {
      const int64_t k = a.index[d][i], size = a.size[d];
      if (k < (a.wrap ? -size : 0) || k >= size) {
        raise_fault(fault, FaultKind::Index, k, size);
        good = false;
      } else {
        offset += (k < 0 ? k + size : k) * a.stride[d];
      }
    }
    a.offsets[i] = good ? offset : -1;
  }
}

// Offsets of one element of all that are moved: outer index, position and inner index of task i.
struct Place {
  int64_t x, v, position;
};
__device__ __forceinline__ Place place_of(const MoveArgs& a, int64_t i) {
  Place p{0, 0, 0};
  for (int d = a.inner_dims - 1; d >= 0; --d) {
    const int64_t at = i % a.inner_sizes[d];
    p.x += at * a.inner_x[d];
    p.v += at * a.inner_v[d];
    i /= a.inner_sizes[d];
  }
  p.position = i % a.count;
  i /= a.count;
  for (int d = a.outer_dims - 1; d >= 0; --d) {
    const int64_t at = i % a.outer_sizes[d];
    p.x += at * a.outer_x[d];
    p.v += at * a.outer_v[d];
    i /= a.outer_sizes[d];
  }
  return p;
}
__device__ __forceinline__ int64_t offset_at(const MoveArgs& a, int64_t position) {
  return a.offsets ? a.offsets[position] : 0;
}

template <class U>
__global__ void __launch_bounds__(kThreads) get_elements(MoveArgs a, int64_t n) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    const Place p = place_of(a, i);
    const int64_t offset = offset_at(a, p.position);
    static_cast<U*>(a.values)[p.v + p.position * a.stride_v] =
        offset < 0 ? U(0) : static_cast<const U*>(a.x)[p.x + offset];
  }
}

// Rows of `bytes` bytes, dense on both sides: a warp to a row, 16 bytes to a lane where the row is aligned.
__global__ void __launch_bounds__(kThreads) get_rows(MoveArgs a, int64_t rows, int64_t element, int64_t bytes) {
  const int64_t warps = int64_t(gridDim.x) * (kThreads / kWarp);
  const int lane = threadIdx.x % kWarp;
  for (int64_t row = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp; row < rows; row += warps) {
    Place p{0, 0, row % a.count};
    int64_t rest = row / a.count;
    for (int d = a.outer_dims - 1; d >= 0; --d) {
      const int64_t at = rest % a.outer_sizes[d];
      p.x += at * a.outer_x[d];
      p.v += at * a.outer_v[d];
      rest /= a.outer_sizes[d];
    }
    const int64_t offset = offset_at(a, p.position);
    const auto* from = static_cast<const uint8_t*>(a.x) + (p.x + offset) * element;
    auto* to = static_cast<uint8_t*>(a.values) + (p.v + p.position * a.stride_v) * element;
    const bool aligned =
        (reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | uint64_t(bytes)) % 16 == 0;
    if (offset < 0) {
      for (int64_t b = lane; b < bytes; b += kWarp) to[b] = 0;
    } else if (aligned) {
      for (int64_t b = lane * 16; b < bytes; b += kWarp * 16) store_pack(to + b, load_pack<16>(from + b));
    } else {
      for (int64_t b = lane; b < bytes; b += kWarp) to[b] = from[b];
    }
  }
}

// Where positions may be equal, the first of equal ones in `order` serves them all: the last one stays.
template <class U>
__global__ void __launch_bounds__(kThreads) put_elements(MoveArgs a, int64_t n) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    const Place p = place_of(a, i);
    const int64_t position = a.order ? a.order[p.position] : p.position, offset = offset_at(a, position);
    if (offset < 0) continue;
    if (a.order && p.position + 1 < a.count && a.offsets[a.order[p.position + 1]] == offset) continue;
    static_cast<U*>(a.x)[p.x + offset] = static_cast<const U*>(a.values)[p.v + position * a.stride_v];
  }
}

// The same, where all are added in the order in which they come.
template <class T>
__global__ void __launch_bounds__(kThreads) add_elements(MoveArgs a, int64_t n) {
  using A = math_type<T>;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  const T* values = static_cast<const T*>(a.values);
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    const Place p = place_of(a, i);
    int64_t position = a.order ? a.order[p.position] : p.position;
    const int64_t offset = offset_at(a, position);
    if (offset < 0) continue;
    if (a.order && p.position > 0 && a.offsets[a.order[p.position - 1]] == offset) continue;
    T& to = static_cast<T*>(a.x)[p.x + offset];
    A sum = A(to);
    for (int64_t k = p.position;;) {
      sum += A(values[p.v + position * a.stride_v]);
      if (!a.order || ++k >= a.count) break;
      position = a.order[k];
      if (a.offsets[position] != offset) break;
    }
    to = T(sum);
  }
}

}  // namespace

SW_CUDA_KERNEL(index_offsets, a, stream) {
  if (a.count == 0) return;
  rt::launch(find_offsets, {grid_for(a.count, kThreads, stream), kThreads, 0, stream.handle}, a, stream.fault);
}

SW_CUDA_KERNEL(move_elements, a, stream) {
  int64_t rows = a.count, run = 1;
  for (int d = 0; d < a.outer_dims; ++d) rows *= a.outer_sizes[d];
  for (int d = 0; d < a.inner_dims; ++d) run *= a.inner_sizes[d];
  const int64_t n = rows * run, element = size_of(a.dtype);
  if (n == 0) return;
  const rt::At at{grid_for(n, kThreads, stream), kThreads, 0, stream.handle};
  if (a.mode == MoveMode::Get && a.inner_dims == 1 && a.inner_x[0] == 1 && a.inner_v[0] == 1 && run * element >= 128) {
    rt::launch(get_rows, {grid_for(rows, kThreads / kWarp, stream), kThreads, 0, stream.handle}, a, rows, element,
               run * element);
  } else if (a.mode == MoveMode::Add) {
    if (a.dtype == DType::Float16) return rt::launch(add_elements<float16>, at, a, n);
    dispatch_all(a.dtype, [&]<class T>(Type<T>) { rt::launch(add_elements<T>, at, a, n); });
  } else {
    dispatch_bytes(a.dtype, [&]<class U>(Type<U>) {
      rt::launch(a.mode == MoveMode::Get ? get_elements<U> : put_elements<U>, at, a, n);
    });
  }
}

}  // namespace skipway::cuda

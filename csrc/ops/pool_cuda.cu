// Pooling on channels-last tensors. Formulas: ops/pool.h. A thread computes a pack of channels of one output, or of one
// input of the backward passes, which gather. Memory-bound: overlapping windows read neighbours from cache.
#include "kernels/cuda/positions.cuh"
#include "ops/pool.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAcross = 32;                      // packs of a block that shares windows
constexpr int64_t kFewItems = int64_t(1) << 16;  // fewer threads than these would not fill a device

struct Range {
  int64_t begin[3], end[3];
};

template <int N>
__device__ __forceinline__ Range window_of(const PoolArgs& a, const Position& p) {
  Range w;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    w.begin[d] = window_begin(a.axis[d], p.at[d]);
    w.end[d] = window_end(a.axis[d], p.at[d]);
  }
  return w;
}
__device__ __forceinline__ int64_t in_plane(const PoolArgs& a) { return a.axis[0].in * a.axis[1].in * a.axis[2].in; }

// Of equal maxima the first, and NaN above all. A window may hold no element (dilated, all in the padding): -inf, at
// the element nearest to it.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 4) max_pool(PoolArgs a, Positions positions) {
  using A = math_type<T>;
  for_positions<N>(positions, [&](const Position& p, int64_t item) {
    const Range w = window_of<N>(a, p);
    int64_t nearest = 0;
#pragma unroll
    for (int d = 0; d < 3; ++d)
      nearest = nearest * a.axis[d].in + (w.begin[d] < a.axis[d].in ? w.begin[d] : a.axis[d].in - 1);
    A best[N];
    Pack<int32_t, N> at;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      best[k] = A(__int_as_float(int(0xff800000u)));
      at.v[k] = int32_t(nearest);
    }
    const T* x = static_cast<const T*>(a.x) + p.image * in_plane(a) * a.c + p.channel;
    for (int64_t i = w.begin[0]; i < w.end[0]; i += a.axis[0].dilation) {
      for (int64_t j = w.begin[1]; j < w.end[1]; j += a.axis[1].dilation) {
#pragma unroll 2
        for (int64_t k = w.begin[2]; k < w.end[2]; k += a.axis[2].dilation) {
          const int64_t flat = (i * a.axis[1].in + j) * a.axis[2].in + k;
          const auto v = load_pack<N>(x + flat * a.c);
#pragma unroll
          for (int e = 0; e < N; ++e) {
            const A value = A(v.v[e]);
            if (!(value > best[e] || value != value)) continue;
            best[e] = value;
            at.v[e] = int32_t(flat);
          }
        }
      }
    }
    Pack<T, N> y;
#pragma unroll
    for (int e = 0; e < N; ++e) y.v[e] = T(best[e]);
    store_pack(static_cast<T*>(a.y) + item * N, y);
    if (a.indices) store_pack(a.indices + item * N, at);
  });
}

// What an average divides by, of the output at p.
__device__ __forceinline__ double divisor_of(const PoolArgs& a, int64_t i, int64_t j, int64_t k) {
  if (a.divisor != 0) return a.divisor;
  return double(window_count(a.axis[0], i, a.count_include_pad) * window_count(a.axis[1], j, a.count_include_pad) *
                window_count(a.axis[2], k, a.count_include_pad));
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) avg_pool(PoolArgs a, Positions positions) {
  using A = math_type<T>;
  for_positions<N>(positions, [&](const Position& p, int64_t item) {
    const Range w = window_of<N>(a, p);
    const T* x = static_cast<const T*>(a.x) + p.image * in_plane(a) * a.c + p.channel;
    A total[N] = {};
    for (int64_t i = w.begin[0]; i < w.end[0]; ++i) {
      for (int64_t j = w.begin[1]; j < w.end[1]; ++j) {
        A row[N] = {};
#pragma unroll 4
        for (int64_t k = w.begin[2]; k < w.end[2]; ++k) {
          const auto v = load_pack<N>(x + ((i * a.axis[1].in + j) * a.axis[2].in + k) * a.c);
#pragma unroll
          for (int e = 0; e < N; ++e) row[e] += A(v.v[e]);
        }
#pragma unroll
        for (int e = 0; e < N; ++e) total[e] += row[e];
      }
    }
    const A divisor = A(divisor_of(a, p.at[0], p.at[1], p.at[2]));
    Pack<T, N> y;
#pragma unroll
    for (int e = 0; e < N; ++e) y.v[e] = T(total[e] / divisor);
    store_pack(static_cast<T*>(a.y) + item * N, y);
  });
}

template <class A, int N>
struct WindowSums {
  A v[N][kThreads];
};

// Few outputs of large windows, as in global pooling: a block computes `across` packs of an output, and its rows of
// threads share the window.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) avg_pool_shared(PoolArgs a, Positions positions, int across) {
  using A = math_type<T>;
  auto& sums = rt::static_shared<WindowSums<A, N>>();
  const int down = kThreads / across, me = threadIdx.x, x = me % across, y = me / across;
  const int64_t tiles = (positions.packs + across - 1) / across, outputs = positions.total / positions.packs;
  for (int64_t task = blockIdx.x; task < outputs * tiles; task += gridDim.x) {
    const int64_t output = task / tiles, pack = (task - output * tiles) * across + x;
    const bool inside = pack < positions.packs && y < down;
    const int64_t item = output * positions.packs + pack;
    A total[N] = {};
    Position p{};
    if (inside) {
      p = positions.template decode<N>(item);
      const Range w = window_of<N>(a, p);
      const uint32_t b = uint32_t(w.end[1] - w.begin[1]), c = uint32_t(w.end[2] - w.begin[2]);
      const uint32_t n = uint32_t(w.end[0] - w.begin[0]) * b * c;
      const T* from = static_cast<const T*>(a.x) + p.image * in_plane(a) * a.c + p.channel;
#pragma unroll 4
      for (uint32_t e = y; e < n; e += down) {
        const uint32_t line = e / c, i = line / b;
        const int64_t flat = ((w.begin[0] + i) * a.axis[1].in + w.begin[1] + (line - i * b)) * a.axis[2].in +
                             w.begin[2] + (e - line * c);
        const auto v = load_pack<N>(from + flat * a.c);
#pragma unroll
        for (int k = 0; k < N; ++k) total[k] += A(v.v[k]);
      }
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; ++k) sums.v[k][me] = total[k];
    __syncthreads();
    for (int rows = down; rows > 1;) {
      const int half = (rows + 1) / 2;
      if (y + half < rows) {
#pragma unroll
        for (int k = 0; k < N; ++k) sums.v[k][me] += sums.v[k][me + half * across];
      }
      __syncthreads();
      rows = half;
    }
    if (!inside || y != 0) continue;
    const A divisor = A(divisor_of(a, p.at[0], p.at[1], p.at[2]));
    Pack<T, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = T(sums.v[k][me] / divisor);
    store_pack(static_cast<T*>(a.y) + item * N, out);
  }
}

// dx of one input: the windows that may hold it, in order.
template <class T, int N, bool kMax>
__global__ void __launch_bounds__(kThreads, kMax ? 4 : 2) pool_grad(PoolGradArgs args, Positions positions) {
  using A = math_type<T>;
  const PoolArgs& a = args.forward;
  for_positions<N>(positions, [&](const Position& p, int64_t item) {
    int64_t begin[3], end[3];
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      begin[d] = first_window(a.axis[d], p.at[d]);
      end[d] = end_window(a.axis[d], p.at[d]);
    }
    const int64_t plane = a.axis[0].out * a.axis[1].out * a.axis[2].out;
    const int64_t flat = (p.at[0] * a.axis[1].in + p.at[1]) * a.axis[2].in + p.at[2];
    A sum[N] = {};
    for (int64_t i = begin[0]; i < end[0]; ++i) {
      for (int64_t j = begin[1]; j < end[1]; ++j) {
#pragma unroll 2
        for (int64_t k = begin[2]; k < end[2]; ++k) {
          const int64_t out = (p.image * plane + (i * a.axis[1].out + j) * a.axis[2].out + k) * a.c + p.channel;
          const auto g = load_pack<N>(static_cast<const T*>(args.dy) + out);
          if constexpr (kMax) {
            const auto at = load_pack<N>(a.indices + out);
#pragma unroll
            for (int e = 0; e < N; ++e) sum[e] += at.v[e] == flat ? A(g.v[e]) : A(0);
          } else {
            const A divisor = A(divisor_of(a, i, j, k));
#pragma unroll
            for (int e = 0; e < N; ++e) sum[e] += A(g.v[e]) / divisor;
          }
        }
      }
    }
    Pack<T, N> dx;
#pragma unroll
    for (int e = 0; e < N; ++e) dx.v[e] = T(sum[e]);
    store_pack(static_cast<T*>(args.dx) + item * N, dx);
  });
}

Positions outputs_of(const PoolArgs& a, int pack) {
  return {a.n, a.axis[0].out, a.axis[1].out, a.axis[2].out, a.c, pack};
}

int64_t largest_window(const PoolArgs& a) {
  int64_t elements = 1;
  for (const PoolAxis& axis : a.axis) elements *= axis.adaptive ? axis.in / axis.out + 1 : axis.kernel;
  return elements;
}

template <class T, int N>
void avg_forward(const PoolArgs& a, const Stream& stream) {
  const Positions p = outputs_of(a, N);
  if (p.total >= kFewItems || largest_window(a) < 32) {
    rt::launch(avg_pool<T, N>, {grid_for(p.total, kThreads, stream), kThreads, 0, stream.handle}, a, p);
    return;
  }
  const int across = p.packs < kAcross ? int(p.packs) : kAcross;
  const int64_t tasks = p.total / p.packs * ceil_div(p.packs, across);
  rt::launch(avg_pool_shared<T, N>, {grid_for(tasks, 1, stream), kThreads, 0, stream.handle}, a, p, across);
}

template <bool kMax>
void backward(const PoolGradArgs& args, const Stream& stream) {
  const PoolArgs& a = args.forward;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    constexpr int kMany = kPack<T>;
    const bool packs =
        packs_at<T>(args.dy, a.c) && packs_at<T>(args.dx, a.c) && (!kMax || packs_at<int32_t>(a.indices, a.c, kMany));
    const Positions p(a.n, a.axis[0].in, a.axis[1].in, a.axis[2].in, a.c, packs ? kMany : 1);
    if (p.total == 0) return;
    rt::launch(packs ? pool_grad<T, kMany, kMax> : pool_grad<T, 1, kMax>,
               {grid_for(p.total, kThreads, stream), kThreads, 0, stream.handle}, args, p);
  });
}

// ---- max_unpool: of several values for one place the last counts, as in a loop over them ----------------------------

// owner[index] = the last i that has this index; -1 before.
__global__ void __launch_bounds__(kThreads) unpool_claim(UnpoolArgs a, int* owner, Fault* fault) {
  const int64_t n = a.planes * a.small, stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int64_t plane = i / a.small, index = a.indices[i];
    if (index < 0 || index >= a.large) {
      raise_fault(fault, FaultKind::Index, index, a.large);
      continue;
    }
    atomicMax(owner + plane * a.large + index, int(i - plane * a.small));
  }
}
__global__ void __launch_bounds__(kThreads) unpool_no_owner(int64_t n, int* owner) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) owner[i] = -1;
}
template <class U>
__global__ void __launch_bounds__(kThreads) unpool_fill(UnpoolArgs a, const int* owner) {
  const int64_t n = a.planes * a.large, stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int from = owner[i];
    static_cast<U*>(a.y)[i] = from < 0 ? U(0) : static_cast<const U*>(a.x)[i / a.large * a.small + from];
  }
}
template <class U>
__global__ void __launch_bounds__(kThreads) unpool_gather(UnpoolArgs a) {
  const int64_t n = a.planes * a.small, stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride) {
    const int64_t index = a.indices[i];
    const bool inside = index >= 0 && index < a.large;  // or forward has reported it
    static_cast<U*>(a.y)[i] = inside ? static_cast<const U*>(a.x)[i / a.small * a.large + index] : U(0);
  }
}

template <class F>
void dispatch_size(DType d, const F& f) {
  size_of(d) == 2 ? f(Type<uint16_t>{}) : size_of(d) == 4 ? f(Type<uint32_t>{}) : f(Type<uint64_t>{});
}

}  // namespace

SW_CUDA_KERNEL(max_pool_forward, a, stream) {
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    constexpr int kMany = kPack<T>;
    const bool packs = packs_at<T>(a.x, a.c) && packs_at<T>(a.y, a.c) && packs_at<int32_t>(a.indices, a.c, kMany);
    const Positions p = outputs_of(a, packs ? kMany : 1);
    rt::launch(packs ? max_pool<T, kMany> : max_pool<T, 1>,
               {grid_for(p.total, kThreads, stream), kThreads, 0, stream.handle}, a, p);
  });
}

SW_CUDA_KERNEL(avg_pool_forward, a, stream) {
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const bool packs = packs_at<T>(a.x, a.c) && packs_at<T>(a.y, a.c);
    packs ? avg_forward<T, kPack<T>>(a, stream) : avg_forward<T, 1>(a, stream);
  });
}

SW_CUDA_KERNEL(max_pool_backward, args, stream) { backward<true>(args, stream); }
SW_CUDA_KERNEL(avg_pool_backward, args, stream) { backward<false>(args, stream); }

SW_CUDA_KERNEL(max_unpool_kernel, a, stream) {
  const int64_t small = a.planes * a.small, large = a.planes * a.large;
  const auto at = [&](int64_t n) { return rt::At{grid_for(n, kThreads, stream), kThreads, 0, stream.handle}; };
  if (a.gather) {
    if (small == 0) return;
    dispatch_size(a.dtype, [&]<class U>(Type<U>) { rt::launch(unpool_gather<U>, at(small), a); });
    return;
  }
  if (large == 0) return;
  const Workspace owner(stream, size_t(large) * sizeof(int));
  rt::launch(unpool_no_owner, at(large), large, owner.as<int>());
  if (small > 0) rt::launch(unpool_claim, at(small), a, owner.as<int>(), stream.fault);
  dispatch_size(a.dtype, [&]<class U>(Type<U>) { rt::launch(unpool_fill<U>, at(large), a, owner.as<int>()); });
}

}  // namespace skipway::cuda

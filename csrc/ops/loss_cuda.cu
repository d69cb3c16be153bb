// Formulas: ops/loss.h. Bound by memory: one read of the operands (and one write of each gradient). Reduced losses are
// summed in float64, in a fixed order: by blocks, whose number depends on the size alone, then over the blocks.
// 4 blocks of 256 threads to a multiprocessor (2 for float64): at most 64 (128) registers.
#include "core/cuda_fault.h"
#include "kernels/cuda/grad.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"
#include "ops/loss.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;
template <class T>
constexpr int kBlocks = sizeof(T) == 8 ? 2 : 4;
// Elements of a pack: few, as twelve formulas are unrolled for each.
template <class T>
constexpr int kLossPack = sizeof(T) == 8 ? 1 : 4;

struct LossTask {
  LossArgs a;
  double* block_sums;
  Fault* fault;
};

// One element; p: beta, delta, margin or eps; pw: pos_weight (1 without).
template <class A>
struct In {
  A x, t, pw, p;
  bool full;
};

template <class A>
__device__ __forceinline__ A sign_of(A d) {  // NaN stays
  return d > A(0) ? A(1) : d < A(0) ? A(-1) : d;
}
template <class A>
__device__ __forceinline__ A at_least(A v, A least) {  // NaN stays
  return v < least ? least : v;
}
// Stirling's approximation of log(t!), where t > 1, and its derivative.
template <class A>
__device__ __forceinline__ A stirling(A t) {
  return t > A(1) ? t * dlog(t) - t + dlog(t * A(6.283185307179586)) / 2 : A(0);
}
template <class A>
__device__ __forceinline__ A stirling_grad(A t) {
  return t > A(1) ? dlog(t) + 1 / (t + t) : A(0);
}

template <class A>
__device__ __forceinline__ A loss_value(LossKind kind, const In<A>& i) {
  const A d = i.x - i.t, size = dfabs(d);
  switch (kind) {
    case LossKind::Mse:
      return d * d;
    case LossKind::L1:
      return size;
    case LossKind::SmoothL1:
      return size < i.p ? d * d / (2 * i.p) : size - i.p / 2;
    case LossKind::Huber:
      return size <= i.p ? d * d / 2 : i.p * (size - i.p / 2);
    case LossKind::Bce:
      return (i.t - 1) * at_least(dlog1p(-i.x), A(-100)) - i.t * at_least(dlog(i.x), A(-100));
    case LossKind::BceLogits:
      return (1 - i.t) * i.x + (1 + (i.pw - 1) * i.t) * dsoftplus(-i.x);
    case LossKind::KlDiv:
      return i.t == A(0) ? A(0) * i.x : i.t * (dlog(i.t) - i.x);
    case LossKind::KlDivLog:
      return dexp(i.t) * (i.t - i.x);
    case LossKind::SoftMargin:
      return dsoftplus(-i.t * i.x);
    case LossKind::HingeEmbedding: {
      const A margin = i.p - i.x;
      return (i.t != A(1) ? at_least(margin, A(0)) : A(0)) + (i.t != A(-1) ? i.x : A(0));
    }
    case LossKind::PoissonLog:
      return dexp(i.x) - i.t * i.x + (i.full ? stirling(i.t) : A(0));
    default:  // Poisson
      return i.x - i.t * dlog(i.x + i.p) + (i.full ? stirling(i.t) : A(0));
  }
}

// The derivatives by x and t.
template <class A>
struct LossGrad {
  A dx, dt;
};
template <class A>
__device__ __forceinline__ LossGrad<A> loss_grad(LossKind kind, const In<A>& i) {
  const A d = i.x - i.t;
  switch (kind) {
    case LossKind::Mse:
      return {d + d, -(d + d)};
    case LossKind::L1:
      return {sign_of(d), -sign_of(d)};
    case LossKind::SmoothL1: {
      const A g = dfabs(d) < i.p ? d / i.p : sign_of(d);
      return {g, -g};
    }
    case LossKind::Huber: {
      const A g = dfabs(d) <= i.p ? d : i.p * sign_of(d);
      return {g, -g};
    }
    case LossKind::Bce:
      return {d / at_least(i.x * (1 - i.x), A(1e-12)), at_least(dlog1p(-i.x), A(-100)) - at_least(dlog(i.x), A(-100))};
    case LossKind::BceLogits:
      return {(1 - i.t) - (1 + (i.pw - 1) * i.t) * dsigmoid(-i.x), (i.pw - 1) * dsoftplus(-i.x) - i.x};
    case LossKind::KlDiv:
      return {-i.t, i.t == A(0) ? A(0) : dlog(i.t) - i.x + 1};
    case LossKind::KlDivLog: {
      const A e = dexp(i.t);
      return {-e, e * (i.t - i.x + 1)};
    }
    case LossKind::SoftMargin: {
      const A s = -dsigmoid(-i.t * i.x);
      return {i.t * s, i.x * s};
    }
    case LossKind::HingeEmbedding:
      return {(i.t != A(1) && i.p - i.x > A(0) ? A(-1) : A(0)) + (i.t != A(-1) ? A(1) : A(0)), A(0)};
    case LossKind::PoissonLog:
      return {dexp(i.x) - i.t, (i.full ? stirling_grad(i.t) : A(0)) - i.x};
    default:  // Poisson
      return {1 - i.t / (i.x + i.p), (i.full ? stirling_grad(i.t) : A(0)) - dlog(i.x + i.p)};
  }
}

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_or(const void* p, int64_t i, float otherwise) {
  if (p) return load_pack<N>(static_cast<const T*>(p) + i);
  Pack<T, N> all;
#pragma unroll
  for (int k = 0; k < N; ++k) all.v[k] = T(otherwise);
  return all;
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) loss_values(LossTask task) {
  using A = math_type<T>;
  const LossArgs& a = task.a;
  double sum = 0;
  for_packs<N>(a.n, [&]<int count>(int64_t i, Type<char[count]>) {
    const auto x = load_or<count, T>(a.x, i, 0), t = load_or<count, T>(a.target, i, 0);
    const auto w = load_or<count, T>(a.weight, i, 1), pw = load_or<count, T>(a.pos_weight, i, 1);
    Pack<T, count> out;
    A here = A(0);
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const In<A> in{A(x.v[k]), A(t.v[k]), A(pw.v[k]), A(a.parameter), a.full};
      if (a.kind == LossKind::Bce && (in.x < A(0) || in.x > A(1)))
        raise_fault(task.fault, kNoProbability, __double_as_longlong(double(in.x)), i + k);
      const A v = loss_value(a.kind, in) * A(w.v[k]);
      here += v;
      out.v[k] = T(v);
    }
    sum += double(here);
    if (!a.reduced) store_pack(static_cast<T*>(a.loss) + i, out);
  });
  if (!a.reduced) return;
  sum = rt::static_shared<BlockReduce<double, kThreads>>().sum(sum);
  if (threadIdx.x == 0) task.block_sums[blockIdx.x] = sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) finish_loss(int64_t blocks, LossTask task) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) sum += task.block_sums[i];
  sum = rt::static_shared<BlockReduce<double, kThreads>>().sum(sum);
  const double divisor = task.a.weight_sum ? *task.a.weight_sum : task.a.divisor;
  if (threadIdx.x == 0) *static_cast<T*>(task.a.loss) = T(math_type<T>(sum / divisor));
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) loss_grads(LossGradArgs b) {
  using A = math_type<T>;
  const LossArgs& a = b.forward;
  const T* dloss = static_cast<const T*>(b.dloss);
  const A shared = a.reduced ? A(double(A(dloss[0])) / (a.weight_sum ? *a.weight_sum : a.divisor)) : A(0);
  for_packs<N>(a.n, [&]<int count>(int64_t i, Type<char[count]>) {
    const auto x = load_or<count, T>(a.x, i, 0), t = load_or<count, T>(a.target, i, 0);
    const auto w = load_or<count, T>(a.weight, i, 1), pw = load_or<count, T>(a.pos_weight, i, 1);
    const auto given = load_or<count, T>(a.reduced ? nullptr : dloss, i, 0);
    A dx[count], dt[count];
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const LossGrad<A> d = loss_grad(a.kind, In<A>{A(x.v[k]), A(t.v[k]), A(pw.v[k]), A(a.parameter), a.full});
      const A g = (a.reduced ? shared : A(given.v[k])) * A(w.v[k]);
      dx[k] = g * d.dx;
      dt[k] = g * d.dt;
    }
    store_grad(static_cast<T*>(b.dx.data) + i, b.dx.mode, dx);
    store_grad(static_cast<T*>(b.dtarget.data) + i, b.dtarget.mode, dt);
  });
}

template <class T>
bool in_packs(const LossArgs& a) {
  constexpr int N = kLossPack<T>;
  return N > 1 && packs_at<T>(a.x, 0, N) && packs_at<T>(a.target, 0, N) && packs_at<T>(a.weight, 0, N) &&
         packs_at<T>(a.pos_weight, 0, N);
}
int64_t blocks_for(int64_t n, int per_thread) {
  const int64_t blocks = ceil_div(n, int64_t(kThreads) * per_thread);
  return blocks < kMostBlocks ? blocks : kMostBlocks;
}

}  // namespace

SW_CUDA_KERNEL(loss_forward, a, stream) {
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    constexpr int N = kLossPack<T>;
    const bool packs = in_packs<T>(a) && packs_at<T>(a.reduced ? nullptr : a.loss, 0, N);
    const int64_t blocks = blocks_for(a.n, packs ? N : 1);
    const Workspace sums(stream, a.reduced ? size_t(blocks) * sizeof(double) : 0);
    const LossTask task{a, sums.as<double>(), stream.fault};
    if (blocks > 0) {
      rt::launch(packs ? loss_values<T, N> : loss_values<T, 1>, {unsigned(blocks), kThreads, 0, stream.handle}, task);
    }
    if (a.reduced) rt::launch(finish_loss<T>, {1, kThreads, 0, stream.handle}, blocks, task);
  });
}

SW_CUDA_KERNEL(loss_backward, b, stream) {
  const LossArgs& a = b.forward;
  if (a.n == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    constexpr int N = kLossPack<T>;
    const bool packs = in_packs<T>(a) && packs_at<T>(a.reduced ? nullptr : b.dloss, 0, N) &&
                       packs_at<T>(b.dx.data, 0, N) && packs_at<T>(b.dtarget.data, 0, N);
    rt::launch(packs ? loss_grads<T, N> : loss_grads<T, 1>,
               {grid_for(a.n, kThreads * (packs ? N : 1), stream), kThreads, 0, stream.handle}, b);
  });
}

}  // namespace skipway::cuda

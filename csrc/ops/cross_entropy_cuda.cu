// Formulas: ops/cross_entropy.h. Bound by memory: a row of logits is read once where its packs fit in shared memory,
// else twice; backward reads it once. A block's rows are summed in float64 in a fixed order, then the blocks' sums.
// 4 blocks of 256 threads to a multiprocessor (2 for float64): at most 64 (128) registers, 48 KB of shared memory each.
#include "kernels/cuda/grad.cuh"
#include "kernels/cuda/softmax_line.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/cross_entropy.h"

namespace skipway::cuda {
namespace {

struct EntropyTask {
  Lines lines;  // rows of packs of classes
  int64_t rows, classes, ignore_index;
  DType target_dtype;
  bool probabilities, logits, cached, mean, each;  // each: of the losses is stored
  double keep, smooth;                             // 1 - e and e / C
  const void *x, *target, *weight;
  void* loss;
  double* stats;
  double2* block_sums;         // of losses and weights, [grid]
  const double* weight_total;  // over the classes; null: `classes`
  Fault* fault;
};
struct EntropyGradTask {
  EntropyTask forward;
  const void* dloss;
  const double* total_weight;
  void *dx, *dtarget;
  GradMode dx_mode, dtarget_mode;
};

// k_c of packs of classes: smooth * w_c, or w_c * (keep * q_c + smooth) for probabilities q.
template <class T, int N>
struct Coefficients {
  using A = math_type<T>;
  const A* w;
  A keep, smooth;
  __device__ __forceinline__ explicit Coefficients(const EntropyTask& a)
      : w(static_cast<const A*>(a.weight)), keep(A(a.keep)), smooth(A(a.smooth)) {}
  __device__ __forceinline__ A weight(int64_t c) const { return w ? w[c] : A(1); }
  __device__ __forceinline__ A of_class(int64_t c) const { return weight(c) * smooth; }
  __device__ __forceinline__ A of_probability(int64_t c, T q) const { return weight(c) * (keep * A(q) + smooth); }
};

// The class of a row; -1 where it is ignored, or out of range.
__device__ __forceinline__ int64_t class_of(const EntropyTask& a, int64_t row, bool report) {
  const int64_t t = read_as<int64_t>(a.target, a.target_dtype, row);
  if (t == a.ignore_index) return -1;
  if (t >= 0 && t < a.classes) return t;
  if (report) raise_fault(a.fault, FaultKind::Target, t, a.classes);
  return -1;
}

// The sum of the class weights, by one block.
template <class A>
__global__ void __launch_bounds__(kLineThreads) sum_weights(int64_t classes, const A* w, double* total) {
  double sum = 0;
  for (int64_t c = threadIdx.x; c < classes; c += kLineThreads) sum += double(w[c]);
  sum = rt::static_shared<BlockReduce<double, kLineThreads>>().sum(sum);
  if (threadIdx.x == 0) *total = sum;
}

template <class T, int N>
__global__ void __launch_bounds__(kLineThreads, kLineBlocksOf<T>) entropy_rows(EntropyTask a) {
  using A = math_type<T>;
  using P = Pack<T, N>;
  const Lines& l = a.lines;
  P* cache = rt::dyn_shared<LineCache<P>>().v;
  const Coefficients<T, N> k(a);
  double block_loss = 0, block_weight = 0;
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const T* x = static_cast<const T*>(a.x) + p.outer * a.classes;
    const T* q = static_cast<const T*>(a.target) + p.outer * a.classes;  // of probabilities
    const auto slot = [&](int64_t s) { return (s >> l.log_y) * kLineThreads + threadIdx.x; };
    SoftSum<A> soft;
    for (int64_t s = p.y; a.logits && s < p.end; s += l.stride()) {
      const P raw = load_pack<N>(x + s * N);
      if (a.cached) cache[slot(s)] = raw;
      A v[N];
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] = A(raw.v[j]);
      soft.take(v);
    }
    double log_sum = 0;
    if (a.logits) {
      soft.merge(l);
      log_sum = ::log(double(soft.sum));
      if (p.inside && p.y == 0) {
        a.stats[p.outer] = double(soft.max);
        a.stats[a.rows + p.outer] = double(soft.sum);
      }
    } else {
      soft.max = A(0);
    }
    A rest = A(0);  // sum of k_c * z_c: over all classes of probabilities, else what smoothing adds
    if (a.probabilities || a.smooth != 0) {
      const A log_part = A(log_sum);
      for (int64_t s = p.y; s < p.end; s += l.stride()) {
        const P raw = a.cached ? cache[slot(s)] : load_pack<N>(x + s * N);
        P given{};
        if (a.probabilities) given = load_pack<N>(q + s * N);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const A z = log_part - (A(raw.v[j]) - soft.max);
          rest += (a.probabilities ? k.of_probability(s * N + j, given.v[j]) : k.of_class(s * N + j)) * z;
        }
      }
      rest = sum_line(l, rest);
    }
    if (!p.inside || p.y != 0) continue;
    double loss = 0, weight = 1;
    if (a.probabilities) {
      loss = double(rest);
    } else {
      const int64_t t = class_of(a, p.outer, true);
      weight = t < 0 ? 0 : double(k.weight(t));
      if (t >= 0) loss = a.keep * weight * (log_sum - (double(x[t]) - double(soft.max))) + double(rest);
    }
    if (a.each) static_cast<T*>(a.loss)[p.outer] = T(A(loss));
    block_loss += loss;
    block_weight += weight;
  }
  if (a.each) return;
  auto& reduce = rt::static_shared<BlockReduce<double, kLineThreads>>();
  block_loss = reduce.sum(block_loss);
  block_weight = reduce.sum(block_weight);
  if (threadIdx.x == 0) a.block_sums[blockIdx.x] = {block_loss, block_weight};
}

// The loss from the blocks' sums.
template <class T>
__global__ void __launch_bounds__(kLineThreads)
    finish_entropy(int64_t blocks, const double2* sums, bool mean, T* loss, double* total_weight) {
  double sum = 0, weight = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kLineThreads) {
    sum += sums[i].x;
    weight += sums[i].y;
  }
  auto& reduce = rt::static_shared<BlockReduce<double, kLineThreads>>();
  sum = reduce.sum(sum);
  weight = reduce.sum(weight);
  if (threadIdx.x != 0) return;
  *total_weight = weight;
  *loss = T(math_type<T>(mean ? sum / weight : sum));
}

// dx_j = g * (p_j * sum(k) - k_j), and for probabilities dq_j = g * (1 - e) * w_j * z_j
template <class T, int N>
__global__ void __launch_bounds__(kLineThreads, kLineBlocksOf<T>) entropy_grad_rows(EntropyGradTask b) {
  using A = math_type<T>;
  using P = Pack<T, N>;
  const EntropyTask& a = b.forward;
  const Lines& l = a.lines;
  const Coefficients<T, N> k(a);
  const double divisor = a.mean ? *b.total_weight : 1;
  const double all_weights = a.weight_total ? *a.weight_total : double(a.classes);
  for (int64_t task = blockIdx.x; task < l.task_count(); task += gridDim.x) {
    const LinePlace p = l.place(task);
    const int64_t row = p.outer * a.classes;
    const T *x = static_cast<const T*>(a.x) + row, *q = static_cast<const T*>(a.target) + row;
    A total = A(0);
    if (a.probabilities && b.dx_mode != GradMode::Skip) {
      for (int64_t s = p.y; s < p.end; s += l.stride()) {
        const P given = load_pack<N>(q + s * N);
#pragma unroll
        for (int j = 0; j < N; ++j) total += k.of_probability(s * N + j, given.v[j]);
      }
      total = sum_line(l, total);
    }
    if (!p.inside) continue;
    const double g = double(static_cast<const T*>(b.dloss)[a.each ? p.outer : 0]) / divisor;
    const A gs = A(g), max = a.logits ? A(a.stats[p.outer]) : A(0);
    const double sum = a.logits ? a.stats[a.rows + p.outer] : 1;
    int64_t t = -1;
    bool ignored = false;
    A hit = A(0);
    if (!a.probabilities) {
      t = class_of(a, p.outer, false);
      ignored = t < 0;
      if (!ignored) {
        hit = A(a.keep) * k.weight(t);
        total = A(double(hit) + a.smooth * all_weights);
      }
    }
    const A scale = a.logits ? A(g * double(total) / sum) : A(0);
    if (b.dx_mode == GradMode::Write || (b.dx_mode == GradMode::Add && !ignored)) {
      for (int64_t s = p.y; s < p.end; s += l.stride()) {
        A d[N];
        if (ignored) {
#pragma unroll
          for (int j = 0; j < N; ++j) d[j] = A(0);
        } else {
          P raw{}, given{};
          if (a.logits) raw = load_pack<N>(x + s * N);
          if (a.probabilities) given = load_pack<N>(q + s * N);
#pragma unroll
          for (int j = 0; j < N; ++j) {
            const int64_t c = s * N + j;
            A own = a.probabilities ? k.of_probability(c, given.v[j]) : a.smooth != 0 ? k.of_class(c) : A(0);
            if (c == t) own += hit;
            d[j] = -gs * own;
            if (a.logits) d[j] += scale * dexp(A(raw.v[j]) - max);
          }
        }
        store_grad(static_cast<T*>(b.dx) + row + s * N, b.dx_mode, d);
      }
    }
    if (!a.probabilities || b.dtarget_mode == GradMode::Skip) continue;
    const A log_sum = A(::log(sum)), factor = gs * k.keep;
    for (int64_t s = p.y; s < p.end; s += l.stride()) {
      const P raw = load_pack<N>(x + s * N);
      A d[N];
#pragma unroll
      for (int j = 0; j < N; ++j) d[j] = factor * k.weight(s * N + j) * (log_sum - (A(raw.v[j]) - max));
      store_grad(static_cast<T*>(b.dtarget) + row + s * N, b.dtarget_mode, d);
    }
  }
}

EntropyTask entropy_task(const CrossEntropyArgs& a, const Stream& stream) {
  EntropyTask task{};
  task.rows = a.rows;
  task.classes = a.classes;
  task.ignore_index = a.ignore_index;
  task.target_dtype = a.target_dtype;
  task.probabilities = is_floating(a.target_dtype);
  task.logits = a.logits;
  task.mean = a.reduction == Reduction::Mean;
  task.each = a.reduction == Reduction::None;
  task.keep = 1 - a.label_smoothing;
  task.smooth = a.label_smoothing / double(a.classes);
  task.x = a.x;
  task.target = a.target;
  task.weight = a.weight;
  task.loss = a.loss;
  task.stats = a.rows_stats;
  task.fault = stream.fault;
  return task;
}

template <class T>
bool rows_in_packs(const CrossEntropyArgs& a) {
  return packs_at<T>(a.x, a.classes) && (!is_floating(a.target_dtype) || packs_at<T>(a.target, a.classes));
}

}  // namespace

SW_CUDA_KERNEL(cross_entropy_forward, a, stream) {
  EntropyTask task = entropy_task(a, stream);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const bool packs = rows_in_packs<T>(a);
    task.lines = Lines(a.rows, packs ? a.classes / kPack<T> : a.classes, 1, false);
    const int64_t blocks = a.rows > 0 ? task.lines.grid() : 0;
    const size_t pack_bytes = packs ? sizeof(Pack<T, kPack<T>>) : sizeof(T);
    const bool again = task.smooth != 0 || task.probabilities;  // the second pass, over all classes
    const size_t smem = again && a.logits ? line_cache_bytes(task.lines, pack_bytes) : 0;
    task.cached = smem > 0;
    const Workspace sums(stream, task.each ? 0 : size_t(blocks) * sizeof(double2));
    task.block_sums = sums.as<double2>();
    if (blocks > 0) {
      rt::launch(packs ? entropy_rows<T, kPack<T>> : entropy_rows<T, 1>,
                 task.lines.at(stream, smem > 0 ? smem : pack_bytes), task);
    }
    if (task.each) return;
    rt::launch(finish_entropy<T>, {1, kLineThreads, 0, stream.handle}, blocks, task.block_sums, task.mean,
               static_cast<T*>(a.loss), a.total_weight);
  });
}

SW_CUDA_KERNEL(cross_entropy_backward, b, stream) {
  const CrossEntropyArgs& a = b.forward;
  if (a.rows == 0 || a.classes == 0) return;
  EntropyGradTask task{entropy_task(a, stream), b.dloss,   a.total_weight, b.dx.data,
                       b.dtarget.data,          b.dx.mode, b.dtarget.mode};
  EntropyTask& rows = task.forward;
  const Workspace total(stream, a.weight && rows.smooth != 0 ? sizeof(double) : 0);
  rows.weight_total = total.as<double>();
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    using A = math_type<T>;
    if (rows.weight_total) {
      rt::launch(sum_weights<A>, {1, kLineThreads, 0, stream.handle}, a.classes, static_cast<const A*>(a.weight),
                 total.as<double>());
    }
    const bool packs =
        rows_in_packs<T>(a) && packs_at<T>(b.dx.data, a.classes) && packs_at<T>(b.dtarget.data, a.classes);
    rows.lines = Lines(a.rows, packs ? a.classes / kPack<T> : a.classes, 1, false);
    rt::launch(packs ? entropy_grad_rows<T, kPack<T>> : entropy_grad_rows<T, 1>, rows.lines.at(stream), task);
  });
}

}  // namespace skipway::cuda

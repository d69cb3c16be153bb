// Optimizer steps: all parameters in one launch, a block to a chunk of kStepChunk elements. Memory-bound: parameter,
// gradient and states are read once and written once. Formulas: ops/optimizer_step.h.
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "ops/optimizer_step.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;
template <class T>
constexpr int kStepPack = sizeof(T) == 8 ? 2 : 4;  // elements that a thread takes at a time

struct DeviceList {
  const StepTensor* tensors;
  int64_t count, chunks;
  const void* options;  // see StepList
  const double* scales;
  const float* found_inf;
};

// The last tensor with first_chunk <= chunk.
__device__ __forceinline__ StepTensor tensor_of(const DeviceList& list, int64_t chunk) {
  int64_t low = 0, high = list.count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (list.tensors[middle].first_chunk <= chunk) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  StepTensor t = list.tensors[low];
  if (list.scales) {
    t.scale[0] = list.scales[2 * low];
    t.scale[1] = list.scales[2 * low + 1];
  }
  return t;
}

// The step with its options, which a replay of a captured step finds on the device.
template <class Step>
__device__ __forceinline__ Step with_options(const DeviceList& list, Step step) {
  if (list.options) step.o = *static_cast<const decltype(step.o)*>(list.options);
  return step;
}

// f(Type<T>) for the dtype of a tensor; the whole block takes one branch.
template <class F>
__device__ __forceinline__ void for_dtype(DType d, const F& f) {
  switch (d) {
    case DType::Float32:
      return f(Type<float>{});
    case DType::Float64:
      return f(Type<double>{});
    case DType::BFloat16:
      return f(Type<bfloat16>{});
    default:
      return f(Type<float16>{});
  }
}

// g = +-g + decay p; without decay, an infinite p leaves g alone.
template <class S>
__device__ __forceinline__ S descend(S g, S p, bool maximize, double decay) {
  g = maximize ? -g : g;
  return decay != 0 ? g + p * S(decay) : g;
}

// scales(t, scale): a step's StepTensor::scale after t steps, for the optimizers whose steps depend on t.
struct SgdStep {
  SgdOptions o;
  __device__ __forceinline__ void scales(double t, double* scale) const { scale[0] = t == 1; }
  template <class S>
  __device__ __forceinline__ void operator()(const StepTensor& t, S& p, S g, S (&s)[3]) const {
    g = descend(g, p, o.maximize, o.weight_decay);
    if (t.state[0]) {
      s[0] = t.scale[0] == 1 ? g : s[0] * S(o.momentum) + g * S(1 - o.dampening);
      g = o.nesterov ? g + s[0] * S(o.momentum) : s[0];
    }
    p = p - g * S(o.lr);
  }
};
struct RmspropStep {
  RmspropOptions o;
  template <class S>
  __device__ __forceinline__ void operator()(const StepTensor& t, S& p, S g, S (&s)[3]) const {
    g = descend(g, p, o.maximize, o.weight_decay);
    s[0] = s[0] * S(o.alpha) + g * g * S(1 - o.alpha);
    S square = s[0];
    if (t.state[1]) {
      s[1] = s[1] + (g - s[1]) * S(1 - o.alpha);
      square = square - s[1] * s[1];
    }
    S u = g / (sqrt(square) + S(o.eps));
    if (t.state[2]) u = s[2] = s[2] * S(o.momentum) + u;
    p = p - u * S(o.lr);
  }
};
struct AdamStep {
  AdamOptions o;
  __device__ __forceinline__ void scales(double t, double* scale) const {
    scale[0] = o.lr / (1 - pow(o.beta1, t));
    scale[1] = sqrt(1 - pow(o.beta2, t));
  }
  template <class S>
  __device__ __forceinline__ void operator()(const StepTensor& t, S& p, S g, S (&s)[3]) const {
    if (o.decoupled) p = p * S(1 - o.lr * o.weight_decay);
    g = descend(g, p, o.maximize, o.decoupled ? 0 : o.weight_decay);
    s[0] = s[0] + (g - s[0]) * S(1 - o.beta1);
    s[1] = s[1] * S(o.beta2) + g * g * S(1 - o.beta2);
    S square = s[1];
    if (t.state[2]) square = s[2] = s[2] != s[2] || s[2] > s[1] ? s[2] : s[1];
    p = p - s[0] * S(t.scale[0]) / (sqrt(square) / S(t.scale[1]) + S(o.eps));
  }
};
struct AdagradStep {
  AdagradOptions o;
  __device__ __forceinline__ void scales(double t, double* scale) const {
    scale[0] = o.lr / (1 + (t - 1) * o.lr_decay);
  }
  template <class S>
  __device__ __forceinline__ void operator()(const StepTensor& t, S& p, S g, S (&s)[3]) const {
    g = descend(g, p, o.maximize, o.weight_decay);
    s[0] = s[0] + g * g;
    p = p - g * S(t.scale[0]) / (sqrt(s[0]) + S(o.eps));
  }
};
struct AdadeltaStep {
  AdadeltaOptions o;
  template <class S>
  __device__ __forceinline__ void operator()(const StepTensor&, S& p, S g, S (&s)[3]) const {
    g = descend(g, p, o.maximize, o.weight_decay);
    s[0] = s[0] * S(o.rho) + g * g * S(1 - o.rho);
    const S u = sqrt(s[1] + S(o.eps)) / sqrt(s[0] + S(o.eps)) * g;
    s[1] = s[1] * S(o.rho) + u * u * S(1 - o.rho);
    p = p - u * S(o.lr);
  }
};
struct ScaleStep {  // the gradients, which stand in for parameters; o is min(1, max_norm / norm)
  double o;
  template <class S>
  __device__ __forceinline__ void operator()(const StepTensor&, S& p, S, S (&)[3]) const {
    if (o != 1) p = p * S(o);
  }
};

// Is this the step in which the tensor's states are written for the first time, without being read?
template <class Step>
__device__ __forceinline__ bool states_are_new(const Step&, const StepTensor&) {
  return false;
}
__device__ __forceinline__ bool states_are_new(const SgdStep&, const StepTensor& t) { return t.scale[0] == 1; }

// What a step's states of parameters of dtype T are stored in.
template <class T, class Step>
struct StateOf {
  using type = math_type<T>;
};
template <class T>
struct StateOf<T, SgdStep> {
  using type = T;
};

// N neighbouring elements from i on.
template <int N, class T, class Step>
__device__ __forceinline__ void step_pack(const StepTensor& t, int64_t i, const Step& step) {
  using S = math_type<T>;
  using Stored = typename StateOf<T, Step>::type;
  auto p = load_pack<N>(static_cast<const T*>(t.param) + i);
  const auto g = load_pack<N>(static_cast<const T*>(t.grad) + i);
  Pack<Stored, N> states[3] = {};
  const bool read_states = !states_are_new(step, t);
#pragma unroll
  for (int k = 0; k < 3; ++k)
    if (t.state[k] && read_states) states[k] = load_pack<N>(static_cast<const Stored*>(t.state[k]) + i);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    S s[3] = {};
    S param = S(p.v[j]);
#pragma unroll
    for (int k = 0; k < 3; ++k)
      if (t.state[k]) s[k] = S(states[k].v[j]);
    step(t, param, S(g.v[j]), s);
    p.v[j] = T(param);
#pragma unroll
    for (int k = 0; k < 3; ++k) states[k].v[j] = Stored(s[k]);
  }
  store_pack(static_cast<T*>(t.param) + i, p);
#pragma unroll
  for (int k = 0; k < 3; ++k)
    if (t.state[k]) store_pack(static_cast<Stored*>(t.state[k]) + i, states[k]);
}

template <class T, class S>
__device__ __forceinline__ bool aligned(const StepTensor& t) {
  bool yes = reinterpret_cast<uintptr_t>(t.param) % sizeof(Pack<T, kStepPack<T>>) == 0 &&
             reinterpret_cast<uintptr_t>(t.grad) % sizeof(Pack<T, kStepPack<T>>) == 0;
  for (int k = 0; k < 3; ++k) yes = yes && reinterpret_cast<uintptr_t>(t.state[k]) % sizeof(Pack<S, kStepPack<T>>) == 0;
  return yes;
}

// Before a step that counts on the device: each tensor's count and its scales, unless the step is left out.
template <class Step>
__global__ void __launch_bounds__(kThreads) count_steps(DeviceList list, Step step, double* scales) {
  if (*list.found_inf != 0) return;
  step = with_options(list, step);
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < list.count; i += stride) {
    double* const counted = list.tensors[i].step;
    const double t = *counted + 1;
    *counted = t;
    scales[2 * i + 1] = 0;
    step.scales(t, scales + 2 * i);
  }
}

// Bounded by memory. Two blocks of 256 threads fit: with more, the steps of three states would spill registers.
template <class Step>
__global__ void __launch_bounds__(kThreads, 2) step_tensors(DeviceList list, Step step) {
  if (list.found_inf && *list.found_inf != 0) return;
  step = with_options(list, step);
  for (int64_t chunk = blockIdx.x; chunk < list.chunks; chunk += gridDim.x) {
    const StepTensor t = tensor_of(list, chunk);
    const int64_t begin = (chunk - t.first_chunk) * kStepChunk;
    const int64_t end = begin + kStepChunk < t.numel ? begin + kStepChunk : t.numel;
    for_dtype(t.dtype, [&]<class T>(Type<T>) {
      constexpr int N = kStepPack<T>;
      const int64_t packed = aligned<T, typename StateOf<T, Step>::type>(t) ? begin + (end - begin) / N * N : begin;
      for (int64_t i = begin + threadIdx.x * N; i < packed; i += kThreads * N) step_pack<N, T>(t, i, step);
      for (int64_t i = packed + threadIdx.x; i < end; i += kThreads) step_pack<1, T>(t, i, step);
    });
  }
}

// The list on the device, where the kernels read it; pageable memory of this size is staged before the call returns.
class Uploaded {
 public:
  Uploaded(const StepList& list, const Stream& stream)
      : tensors_(stream, size_t(list.count) * sizeof(StepTensor)),
        list{tensors_.as<StepTensor>(), list.count, list.chunks, list.options, list.scales, list.found_inf} {
    upload(stream, tensors_.as<void>(), list.tensors, size_t(list.count) * sizeof(StepTensor));
  }

 private:
  const Workspace tensors_;

 public:
  DeviceList list;
};

template <class Step>
void run_step(const StepList& list, const Step& step, const Stream& stream) {
  if (list.chunks == 0) return;
  Uploaded on_device(list, stream);
  const bool counts = list.found_inf && list.tensors[0].step;
  const Workspace scales(stream, counts ? size_t(list.count) * 2 * sizeof(double) : 0);
  if constexpr (requires(double t, double* scale) { step.scales(t, scale); }) {
    if (counts) {
      rt::launch(count_steps<Step>, {grid_for(list.count, kThreads, stream), kThreads, 0, stream.handle},
                 on_device.list, step, scales.as<double>());
      on_device.list.scales = scales.as<double>();
    }
  }
  rt::launch(step_tensors<Step>, {grid_for(list.chunks, 1, stream), kThreads, 0, stream.handle}, on_device.list, step);
}

// partials[chunk] = sum of |g|^p, or the largest |g|; in float64, whose squares neither overflow nor vanish.
__global__ void __launch_bounds__(kThreads) sum_powers(DeviceList list, double p, double* partials) {
  auto& reduce = rt::static_shared<BlockReduce<double, kThreads>>();
  const bool largest = isinf(p);
  for (int64_t chunk = blockIdx.x; chunk < list.chunks; chunk += gridDim.x) {
    const StepTensor t = tensor_of(list, chunk);
    const int64_t begin = (chunk - t.first_chunk) * kStepChunk;
    const int64_t end = begin + kStepChunk < t.numel ? begin + kStepChunk : t.numel;
    double sum = 0;
    for_dtype(t.dtype, [&]<class T>(Type<T>) {
      for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
        const double x = fabs(double(math_type<T>(static_cast<const T*>(t.grad)[i])));
        sum = largest ? Largest{}(x, sum) : sum + (p == 2 ? x * x : p == 1 ? x : pow(x, p));
      }
    });
    const double total = largest ? reduce(sum, 0.0, Largest{}) : reduce.sum(sum);
    if (threadIdx.x == 0) partials[chunk] = total;
  }
}

// The sum of the partials and what it is scaled by, in one block.
__global__ void __launch_bounds__(kThreads) total_norm(GradNormTotalArgs a) {
  auto& reduce = rt::static_shared<BlockReduce<double, kThreads>>();
  const bool largest = isinf(a.p);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < a.count; i += kThreads)
    sum = largest ? Largest{}(a.partials[i], sum) : sum + a.partials[i];
  const double total = largest ? reduce(sum, 0.0, Largest{}) : reduce.sum(sum);
  if (threadIdx.x != 0) return;
  const double norm = largest || a.p == 1 ? total : a.p == 2 ? sqrt(total) : pow(total, 1 / a.p);
  const double factor = a.max_norm / (norm + 1e-6);
  a.result[0] = norm;
  a.result[1] = factor >= 1 ? 1 : factor;  // NaN too: a gradient that is not finite stays visible
}

// Gradients are divided by the scale; is one not finite? One read and one write of all gradients.
__global__ void __launch_bounds__(kThreads, 4) unscale(DeviceList list, const float* scale, float* found_inf) {
  const float inverse = float(1 / double(*scale));
  int infinite = 0;
  for (int64_t chunk = blockIdx.x; chunk < list.chunks; chunk += gridDim.x) {
    const StepTensor t = tensor_of(list, chunk);
    const int64_t begin = (chunk - t.first_chunk) * kStepChunk;
    const int64_t end = begin + kStepChunk < t.numel ? begin + kStepChunk : t.numel;
    for_dtype(t.dtype, [&]<class T>(Type<T>) {
      using S = math_type<T>;
      constexpr int N = kStepPack<T>;
      T* const g = static_cast<T*>(t.param);
      const auto change = [&](T& v) {
        const S x = S(v);
        infinite |= !(x - x == 0);
        v = T(x * S(inverse));
      };
      const int64_t packed = aligned<T, T>(t) ? begin + (end - begin) / N * N : begin;
      for (int64_t i = begin + threadIdx.x * N; i < packed; i += kThreads * N) {
        auto pack = load_pack<N>(g + i);
#pragma unroll
        for (int j = 0; j < N; ++j) change(pack.v[j]);
        store_pack(g + i, pack);
      }
      for (int64_t i = packed + threadIdx.x; i < end; i += kThreads) change(g[i]);
    });
  }
  if (__syncthreads_or(infinite) && threadIdx.x == 0) atomicExch(found_inf, 1.f);
}

__global__ void __launch_bounds__(kWarp) update_scale(UpdateScaleArgs a) {
  if (threadIdx.x != 0) return;
  if (*a.found_inf != 0) {
    *a.scale *= float(a.options.backoff_factor);
    *a.growth_tracker = 0;
    ++*a.skipped;
  } else if (++*a.growth_tracker >= a.options.growth_interval) {
    const float grown = *a.scale * float(a.options.growth_factor);
    if (grown - grown == 0) *a.scale = grown;
    *a.growth_tracker = 0;
  }
}

}  // namespace

SW_CUDA_KERNEL(sgd_kernel, a, stream) { run_step(a.list, SgdStep{a.options}, stream); }
SW_CUDA_KERNEL(rmsprop_kernel, a, stream) { run_step(a.list, RmspropStep{a.options}, stream); }
SW_CUDA_KERNEL(adam_kernel, a, stream) { run_step(a.list, AdamStep{a.options}, stream); }
SW_CUDA_KERNEL(adagrad_kernel, a, stream) { run_step(a.list, AdagradStep{a.options}, stream); }
SW_CUDA_KERNEL(adadelta_kernel, a, stream) { run_step(a.list, AdadeltaStep{a.options}, stream); }
SW_CUDA_KERNEL(grad_scale_kernel, a, stream) {
  StepList list = a.list;
  list.options = a.factor;
  run_step(list, ScaleStep{1}, stream);
}

SW_CUDA_KERNEL(grad_norm_kernel, a, stream) {
  if (a.list.chunks == 0) return;
  const Uploaded on_device(a.list, stream);
  rt::launch(sum_powers, {grid_for(a.list.chunks, 1, stream), kThreads, 0, stream.handle}, on_device.list, a.p,
             a.partials);
}
SW_CUDA_KERNEL(grad_norm_total_kernel, a, stream) { rt::launch(total_norm, {1, kThreads, 0, stream.handle}, a); }

SW_CUDA_KERNEL(grad_unscale_kernel, a, stream) {
  if (a.list.chunks == 0) return;
  const Uploaded on_device(a.list, stream);
  rt::launch(unscale, {grid_for(a.list.chunks, 1, stream, 4), kThreads, 0, stream.handle}, on_device.list, a.scale,
             a.found_inf);
}
SW_CUDA_KERNEL(update_scale_kernel, a, stream) { rt::launch(update_scale, {1, kWarp, 0, stream.handle}, a); }

}  // namespace skipway::cuda

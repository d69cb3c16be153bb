#include <math.h>

#include "core/parallel.h"
#include "kernels/simd.h"
#include "ops/optimizer_step.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kChunksPerTask = 2;

// f(tensor, begin, end, chunk) for each chunk of each tensor.
template <class F>
SW_INLINE void for_chunks(const StepList& list, const F& f) {
  parallel_for(list.chunks, kChunksPerTask, [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      int64_t low = 0, high = list.count - 1;  // the last tensor with first_chunk <= chunk
      while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (list.tensors[middle].first_chunk <= chunk) {
          low = middle;
        } else {
          high = middle - 1;
        }
      }
      const StepTensor& t = list.tensors[low];
      const int64_t begin = (chunk - t.first_chunk) * kStepChunk;
      f(t, begin, begin + kStepChunk < t.numel ? begin + kStepChunk : t.numel, chunk);
    }
  });
}

// One vector of a parameter of dtype T, its gradient and its states of dtype S: update(p, g, s) changes p and s.
template <class T, class S, class Update>
SW_INLINE void step_vector(const StepTensor& t, int64_t i, int64_t count, const Update& update) {
  using V = typename Lanes<T>::vec;
  const bool whole = count >= Lanes<T>::n;
  const auto load = [&]<class E>(const E* from) { return whole ? vload(from) : vload_n(from, count); };
  const auto store = [&]<class E>(E* to, V v) { whole ? vstore(to, v) : vstore_n(to, v, count); };
  T* p = static_cast<T*>(t.param) + i;
  V param = load(p), states[3] = {};
  for (int k = 0; k < 3; ++k)
    if (t.state[k]) states[k] = load(static_cast<const S*>(t.state[k]) + i);
  update(param, load(static_cast<const T*>(t.grad) + i), states);
  store(p, param);
  for (int k = 0; k < 3; ++k)
    if (t.state[k]) store(static_cast<S*>(t.state[k]) + i, states[k]);
}

// g = +-g + decay p; without decay, an infinite p leaves g alone.
template <class V, class S>
SW_INLINE V descend(V g, V p, S sign, S decay) {
  g = g * sign;
  if (decay != 0) g = g + p * decay;
  return g;
}

// States of parameters of dtype T: its accumulate_type, or T itself.
template <class T>
struct Wide {
  using type = accumulate_type<T>;
};
template <class T>
struct Narrow {
  using type = T;
};

// make(Type<S>, tensor) gives the update of one tensor; S is what its dtype computes in.
template <template <class> class States = Wide, class Make>
SW_INLINE void step(const StepList& list, const Make& make) {
  for_chunks(list, [&](const StepTensor& tensor, int64_t begin, int64_t end, int64_t) {
    const StepTensor t = tensor;  // which no store can change
    dispatch_float(t.dtype, [&]<class T>(Type<T>) {
      using S = typename States<T>::type;
      const auto update = make(Type<accumulate_type<T>>{}, t);
      int64_t i = begin;
      for (; i + Lanes<T>::n <= end; i += Lanes<T>::n) step_vector<T, S>(t, i, Lanes<T>::n, update);
      if (i < end) step_vector<T, S>(t, i, end - i, update);
    });
  });
}

}  // namespace

void sgd_kernel(const SgdArgs& args) {
  step<Narrow>(args.list, [&]<class S>(Type<S>, const StepTensor& t) {
    const S lr = S(args.options.lr), decay = S(args.options.weight_decay), sign = args.options.maximize ? -1 : 1;
    const S momentum = S(args.options.momentum), take = S(1 - args.options.dampening);
    const bool has_buffer = t.state[0] != nullptr, first = t.scale[0] == 1, nesterov = args.options.nesterov;
    return [=]<class V>(V& p, V g, V* s) {
      g = descend(g, p, sign, decay);
      if (has_buffer) {
        s[0] = first ? g : s[0] * momentum + g * take;
        g = nesterov ? g + s[0] * momentum : s[0];
      }
      p = p - g * lr;
    };
  });
}

void rmsprop_kernel(const RmspropArgs& args) {
  step(args.list, [&]<class S>(Type<S>, const StepTensor& t) {
    const S lr = S(args.options.lr), decay = S(args.options.weight_decay), sign = args.options.maximize ? -1 : 1;
    const S alpha = S(args.options.alpha), rest = S(1 - args.options.alpha), eps = S(args.options.eps);
    const S momentum = S(args.options.momentum);
    const bool centered = t.state[1] != nullptr, has_buffer = t.state[2] != nullptr;
    return [=]<class V>(V& p, V g, V* s) {
      g = descend(g, p, sign, decay);
      s[0] = s[0] * alpha + g * g * rest;
      V square = s[0];
      if (centered) {
        s[1] = s[1] + (g - s[1]) * rest;
        square = square - s[1] * s[1];
      }
      V u = g / (vsqrt(square) + eps);
      if (has_buffer) u = s[2] = s[2] * momentum + u;
      p = p - u * lr;
    };
  });
}

void adam_kernel(const AdamArgs& args) {
  step(args.list, [&]<class S>(Type<S>, const StepTensor& t) {
    const AdamOptions& o = args.options;
    const S sign = o.maximize ? -1 : 1, decay = o.decoupled ? 0 : S(o.weight_decay);
    const S shrink = o.decoupled ? S(1 - o.lr * o.weight_decay) : 1;
    const S rest1 = S(1 - o.beta1), beta2 = S(o.beta2), rest2 = S(1 - o.beta2), eps = S(o.eps);
    const S size = S(t.scale[0]), root = S(t.scale[1]);
    const bool largest = t.state[2] != nullptr;
    return [=]<class V>(V& p, V g, V* s) {
      p = p * shrink;
      g = descend(g, p, sign, decay);
      s[0] = s[0] + (g - s[0]) * rest1;
      s[1] = s[1] * beta2 + g * g * rest2;
      V square = s[1];
      if (largest) square = s[2] = vmax(s[2], s[1]);
      p = p - s[0] * size / (vsqrt(square) / root + eps);
    };
  });
}

void adagrad_kernel(const AdagradArgs& args) {
  step(args.list, [&]<class S>(Type<S>, const StepTensor& t) {
    const S decay = S(args.options.weight_decay), eps = S(args.options.eps), sign = args.options.maximize ? -1 : 1;
    const S lr = S(t.scale[0]);
    return [=]<class V>(V& p, V g, V* s) {
      g = descend(g, p, sign, decay);
      s[0] = s[0] + g * g;
      p = p - g * lr / (vsqrt(s[0]) + eps);
    };
  });
}

void adadelta_kernel(const AdadeltaArgs& args) {
  step(args.list, [&]<class S>(Type<S>, const StepTensor&) {
    const S lr = S(args.options.lr), decay = S(args.options.weight_decay), sign = args.options.maximize ? -1 : 1;
    const S rho = S(args.options.rho), rest = S(1 - args.options.rho), eps = S(args.options.eps);
    return [=]<class V>(V& p, V g, V* s) {
      g = descend(g, p, sign, decay);
      s[0] = s[0] * rho + g * g * rest;
      const V u = vsqrt(s[1] + eps) / vsqrt(s[0] + eps) * g;
      s[1] = s[1] * rho + u * u * rest;
      p = p - u * lr;
    };
  });
}

// Sums run in float64, whose squares of float32 values neither overflow nor vanish, in eight interleaved parts.
namespace {
template <class T, class Term>
SW_INLINE double sum_terms(const T* g, int64_t n, const Term& term) {
  double part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) part[k] += term(double(accumulate_type<T>(g[i + k])));
  for (int k = 0; i < n; ++i, ++k) part[k] += term(double(accumulate_type<T>(g[i])));
  return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}
}  // namespace

void grad_norm_kernel(const GradNormArgs& args) {
  for_chunks(args.list, [&](const StepTensor& t, int64_t begin, int64_t end, int64_t chunk) {
    dispatch_float(t.dtype, [&]<class T>(Type<T>) {
      const T* g = static_cast<const T*>(t.grad) + begin;
      const int64_t n = end - begin;
      double result = 0;
      if (args.p == 2) {
        result = sum_terms(g, n, [](double x) { return x * x; });
      } else if (args.p == 1) {
        result = sum_terms(g, n, [](double x) { return __builtin_fabs(x); });
      } else if (args.p < __builtin_inf()) {
        result = sum_terms(g, n, [&](double x) { return ::pow(__builtin_fabs(x), args.p); });
      } else {
        for (int64_t i = 0; i < n; ++i) {
          const double x = __builtin_fabs(double(accumulate_type<T>(g[i])));
          result = x > result || x != x ? x : result;
        }
      }
      args.partials[chunk] = result;
    });
  });
}

void grad_norm_total_kernel(const GradNormTotalArgs& args) {
  const double p = args.p;
  const bool largest = !(p < __builtin_inf());
  double total = 0;
  for (int64_t i = 0; i < args.count; ++i) {
    const double part = args.partials[i];
    total = largest ? (part > total || part != part ? part : total) : total + part;
  }
  const double norm = largest || p == 1 ? total : p == 2 ? __builtin_sqrt(total) : ::pow(total, 1 / p);
  const double factor = args.max_norm / (norm + 1e-6);
  args.result[0] = norm;
  args.result[1] = factor >= 1 ? 1 : factor;  // NaN too: a gradient that is not finite stays visible
}

void grad_scale_kernel(const GradScaleArgs& args) {
  const double by = *args.factor;
  if (by == 1) return;
  for_chunks(args.list, [&](const StepTensor& t, int64_t begin, int64_t end, int64_t) {
    dispatch_float(t.dtype, [&]<class T>(Type<T>) {
      using S = accumulate_type<T>;
      T* g = static_cast<T*>(t.param);
      const S factor = S(by);
      for (int64_t i = begin; i < end; ++i) g[i] = T(S(g[i]) * factor);
    });
  });
}

void grad_unscale_kernel(const GradUnscaleArgs& args) {
  const float inverse = float(1 / double(*args.scale));
  for_chunks(args.list, [&](const StepTensor& t, int64_t begin, int64_t end, int64_t) {
    dispatch_float(t.dtype, [&]<class T>(Type<T>) {
      using S = accumulate_type<T>;
      T* g = static_cast<T*>(t.param);
      bool finite = true;
      for (int64_t i = begin; i < end; ++i) {
        const S v = S(g[i]);
        finite &= v - v == 0;
        g[i] = T(v * S(inverse));
      }
      const float one = 1;
      if (!finite) __atomic_store(args.found_inf, &one, __ATOMIC_RELAXED);
    });
  });
}

void update_scale_kernel(const UpdateScaleArgs& args) {
  const ScaleOptions& o = args.options;
  if (*args.found_inf != 0) {
    *args.scale *= float(o.backoff_factor);
    *args.growth_tracker = 0;
    ++*args.skipped;
  } else if (++*args.growth_tracker >= o.growth_interval) {
    const float grown = *args.scale * float(o.growth_factor);
    if (grown - grown == 0) *args.scale = grown;
    *args.growth_tracker = 0;
  }
}

}  // namespace SW_ISA
}  // namespace skipway

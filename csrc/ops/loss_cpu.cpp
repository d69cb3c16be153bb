// Formulas: ops/loss.h. Each rule has the loss of a vector of elements, and its derivatives by x and by t.
#include "ops/loss.h"

#include "core/parallel.h"
#include "kernels/fused.h"
#include "kernels/softmax_row.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 16384;

// One element of each lane; p: beta, delta, margin or eps; pw: pos_weight (ones without).
template <class V>
struct In {
  V x, t, pw;
  __typeof__(V{}[0] + V{}[0]) p;
  bool full;
};

template <class V>
SW_INLINE V vsign(V d) {  // NaN stays
  const V zero{}, one = zero + 1;
  return d > zero ? one : d < zero ? -one : d;
}
template <LossKind K>
struct Rule;

template <>
struct Rule<LossKind::Mse> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return (i.x - i.t) * (i.x - i.t);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return (i.x - i.t) + (i.x - i.t);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return -dx(i);
  }
};
template <>
struct Rule<LossKind::L1> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return vabs(i.x - i.t);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return vsign(i.x - i.t);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return -dx(i);
  }
};
template <>
struct Rule<LossKind::SmoothL1> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    const V d = i.x - i.t, a = vabs(d);
    return a < i.p ? d * d / (2 * i.p) : a - i.p / 2;
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    const V d = i.x - i.t;
    return vabs(d) < i.p ? d / i.p : vsign(d);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return -dx(i);
  }
};
template <>
struct Rule<LossKind::Huber> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    const V d = i.x - i.t, a = vabs(d);
    return a <= i.p ? d * d / 2 : i.p * (a - i.p / 2);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    const V d = i.x - i.t;
    return vabs(d) <= i.p ? d : i.p * vsign(d);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return -dx(i);
  }
};
template <>
struct Rule<LossKind::Bce> {
  template <class V>
  static SW_INLINE V log_of(V x) {
    const V y = vlog(x), least = V{} - 100;
    return y < least ? least : y;
  }
  template <class V>
  static SW_INLINE V log_rest(V x) {
    const V y = vlog1p(-x), least = V{} - 100;
    return y < least ? least : y;
  }
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return (i.t - 1) * log_rest(i.x) - i.t * log_of(i.x);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    const V d = i.x * (1 - i.x), least = vsplat<V>(1e-12);
    return (i.x - i.t) / (d < least ? least : d);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return log_rest(i.x) - log_of(i.x);
  }
};
template <>
struct Rule<LossKind::BceLogits> {
  template <class V>
  static SW_INLINE V factor(const In<V>& i) {
    return 1 + (i.pw - 1) * i.t;
  }
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return (1 - i.t) * i.x + factor(i) * vsoftplus(-i.x);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return (1 - i.t) - factor(i) * vsigmoid(-i.x);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return (i.pw - 1) * vsoftplus(-i.x) - i.x;
  }
};
template <>
struct Rule<LossKind::KlDiv> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return i.t == 0 ? V{} * i.x : i.t * (vlog(i.t) - i.x);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return -i.t;
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return i.t == 0 ? V{} : vlog(i.t) - i.x + 1;
  }
};
template <>
struct Rule<LossKind::KlDivLog> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return vexp(i.t) * (i.t - i.x);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return -vexp(i.t);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return vexp(i.t) * (i.t - i.x + 1);
  }
};
template <>
struct Rule<LossKind::SoftMargin> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return vsoftplus(-i.t * i.x);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return -i.t * vsigmoid(-i.t * i.x);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return -i.x * vsigmoid(-i.t * i.x);
  }
};
template <>
struct Rule<LossKind::HingeEmbedding> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    const V zero{}, m = i.p - i.x, hinge = m < zero ? zero : m;
    return (i.t != 1 ? hinge : zero) + (i.t != -1 ? i.x : zero);
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    const V zero{}, one = zero + 1;
    return ((i.t != 1) & (i.p - i.x > zero) ? -one : zero) + (i.t != -1 ? one : zero);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>&) {
    return V{};
  }
};
// Stirling's approximation of log(t!), where t > 1.
template <class V>
SW_INLINE V stirling(V t) {
  return t > 1 ? t * vlog(t) - t + vlog(t * vsplat<V>(6.283185307179586)) / 2 : V{};
}
template <class V>
SW_INLINE V stirling_grad(V t) {
  return t > 1 ? vlog(t) + 1 / (t + t) : V{};
}
template <>
struct Rule<LossKind::PoissonLog> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return vexp(i.x) - i.t * i.x + (i.full ? stirling(i.t) : V{});
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return vexp(i.x) - i.t;
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return (i.full ? stirling_grad(i.t) : V{}) - i.x;
  }
};
template <>
struct Rule<LossKind::Poisson> {
  template <class V>
  static SW_INLINE V value(const In<V>& i) {
    return i.x - i.t * vlog(i.x + i.p) + (i.full ? stirling(i.t) : V{});
  }
  template <class V>
  static SW_INLINE V dx(const In<V>& i) {
    return 1 - i.t / (i.x + i.p);
  }
  template <class V>
  static SW_INLINE V dt(const In<V>& i) {
    return (i.full ? stirling_grad(i.t) : V{}) - vlog(i.x + i.p);
  }
};

template <class T>
struct Reader {
  using V = typename Lanes<T>::vec;
  const LossArgs& a;
  SW_INLINE const T* at(const void* p, int64_t i) const { return static_cast<const T*>(p) + i; }
  SW_INLINE In<V> read(int64_t i, int64_t lanes) const {
    return {take(at(a.x, i), lanes), take(at(a.target, i), lanes),
            a.pos_weight ? take(at(a.pos_weight, i), lanes) : V{} + 1, typename Lanes<T>::scalar(a.parameter), a.full};
  }
  SW_INLINE V weight(int64_t i, int64_t lanes) const { return a.weight ? take(at(a.weight, i), lanes) : V{} + 1; }
};
template <class T>
SW_INLINE auto first_lanes(typename Lanes<T>::vec v, int64_t lanes) {
  for (int64_t i = lanes; i < Lanes<T>::n; ++i) v[i] = 0;
  return v;
}

struct TaskSum {
  double loss;
  int64_t bad;
};

template <class T, LossKind K>
void forward(const LossArgs& a) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  const Reader<T> reader{a};
  const int64_t tasks = (a.n + kTaskElements - 1) / kTaskElements;
  TaskSum* sums = static_cast<TaskSum*>(thread_scratch(0, size_t(tasks + 1) * sizeof(TaskSum)));
  parallel_for(a.n, kTaskElements, [&](int64_t begin, int64_t end) {
    TaskSum s{0, -1};
    for (int64_t block = begin; block < end; block += 2048) {
      const int64_t stop = min64(end, block + 2048);
      V sum{};
      for (int64_t i = block; i < stop; i += L) {
        const int64_t lanes = min64(L, stop - i);
        const In<V> in = reader.read(i, lanes);
        if constexpr (K == LossKind::Bce) {
          for (int64_t j = 0; j < lanes; ++j)
            if (s.bad < 0 && (in.x[j] < 0 || in.x[j] > 1)) s.bad = i + j;
        }
        V v = Rule<K>::value(in);
        if (a.weight) v *= reader.weight(i, lanes);
        if (a.reduced) {
          sum += lanes == L ? v : first_lanes<T>(v, lanes);
        } else {
          put(static_cast<T*>(a.loss) + i, v, lanes);
        }
      }
      s.loss += double(hsum(sum));
    }
    sums[begin / kTaskElements] = s;
  });
  double loss = 0;
  *a.bad = -1;
  for (int64_t i = 0; i < tasks; ++i) {
    loss += sums[i].loss;
    if (*a.bad < 0) *a.bad = sums[i].bad;
  }
  if (a.reduced) *static_cast<T*>(a.loss) = T(accumulate_type<T>(loss / (a.weight_sum ? *a.weight_sum : a.divisor)));
}

template <class T, LossKind K>
void backward(const LossGradArgs& b) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  const LossArgs& a = b.forward;
  const Reader<T> reader{a};
  const T* dloss = static_cast<const T*>(b.dloss);
  const double divisor = a.weight_sum ? *a.weight_sum : a.divisor;
  const V shared = V{} + (a.reduced ? typename Lanes<T>::scalar(double(dloss[0]) / divisor) : 0);
  auto deliver = [](Grad g, int64_t i, int64_t lanes, V v) {
    T* p = static_cast<T*>(g.data) + i;
    put(p, g.mode == GradMode::Add ? v + take(p, lanes) : v, lanes);
  };
  parallel_for(a.n, kTaskElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += L) {
      const int64_t lanes = min64(L, end - i);
      const In<V> in = reader.read(i, lanes);
      V g = a.reduced ? shared : take(dloss + i, lanes);
      if (a.weight) g *= reader.weight(i, lanes);
      if (b.dx.mode != GradMode::Skip) deliver(b.dx, i, lanes, g * Rule<K>::dx(in));
      if (b.dtarget.mode != GradMode::Skip) deliver(b.dtarget, i, lanes, g * Rule<K>::dt(in));
    }
  });
}

template <LossKind K>
struct KindTag {};
template <class F>
SW_INLINE void dispatch_kind(LossKind kind, const F& f) {
  switch (kind) {
#define SW_CASE(K)  \
  case LossKind::K: \
    return f(KindTag<LossKind::K>{});
    SW_CASE(Mse)
    SW_CASE(L1)
    SW_CASE(SmoothL1)
    SW_CASE(Huber)
    SW_CASE(Bce)
    SW_CASE(BceLogits)
    SW_CASE(KlDiv)
    SW_CASE(KlDivLog)
    SW_CASE(SoftMargin)
    SW_CASE(HingeEmbedding)
    SW_CASE(PoissonLog)
    SW_CASE(Poisson)
#undef SW_CASE
  }
}

}  // namespace

void loss_forward(const LossArgs& a) {
  dispatch_kind(a.kind,
                [&]<LossKind K>(KindTag<K>) { dispatch_float(a.dtype, [&]<class T>(Type<T>) { forward<T, K>(a); }); });
}

void loss_backward(const LossGradArgs& b) {
  dispatch_kind(b.forward.kind, [&]<LossKind K>(KindTag<K>) {
    dispatch_float(b.forward.dtype, [&]<class T>(Type<T>) { backward<T, K>(b); });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

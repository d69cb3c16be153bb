// Formulas: ops/cross_entropy.h. Rows are cut into tasks by shape; each task adds its losses in float64, and the tasks'
// sums are added in order.
#include "ops/cross_entropy.h"

#include <math.h>

#include "core/parallel.h"
#include "kernels/softmax_row.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 16384;

SW_INLINE int64_t rows_per_task(const CrossEntropyArgs& a) {
  return max64(max64(1, kTaskElements / max64(1, a.classes)), (a.rows + 1023) / 1024);
}

// One row's loss = sum_c(k_c * z_c), where k_c = smooth * w_c + (index: hit at the target; else keep * w_c * q_c).
template <class T>
struct RowLoss {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const CrossEntropyArgs& a;
  const S* w;
  S keep, smooth;     // 1 - e and e / C
  double weight_sum;  // over the classes

  SW_INLINE explicit RowLoss(const CrossEntropyArgs& args)
      : a(args),
        w(static_cast<const S*>(args.weight)),
        keep(S(1 - args.label_smoothing)),
        smooth(S(args.label_smoothing / double(args.classes))) {
    weight_sum = double(a.classes);
    if (!w) return;
    weight_sum = 0;
    for (int64_t c = 0; c < a.classes; ++c) weight_sum += double(w[c]);
  }
  SW_INLINE double weight_of(int64_t c) const { return w ? double(w[c]) : 1; }
  SW_INLINE V weights(int64_t c, int64_t lanes) const { return w ? take(w + c, lanes) : V{} + 1; }
  // k of a probability row
  SW_INLINE V coefficient(const T* q, int64_t c, int64_t lanes) const {
    return weights(c, lanes) * (keep * take(q + c, lanes) + smooth);
  }

  SW_INLINE void soften(const T* x, int64_t row, double& max, double& log_sum) const {
    max = log_sum = 0;
    if (!a.logits) return;
    const S m = row_max(x, a.classes, S(1));
    const double sum = row_sum(x, a.classes, -infinity<T>(), [&](V v, int64_t, int64_t) { return vexp(v - m); });
    a.rows_stats[row] = max = double(m);
    a.rows_stats[a.rows + row] = sum;
    log_sum = ::log(sum);
  }

  SW_INLINE double index_loss(const T* x, int64_t row, int64_t t) const {
    double max, log_sum;
    soften(x, row, max, log_sum);
    const double z = log_sum - (double(x[t]) - max);
    if (smooth == 0) return weight_of(t) * z;
    const S m = S(max);
    const double rest = row_sum(x, a.classes, S(0), [&](V v, int64_t c, int64_t lanes) {
      return (lanes == Lanes<T>::n ? weights(c, lanes) : w ? take(w + c, lanes) : ones(lanes)) * (v - m);
    });
    return double(keep) * weight_of(t) * z + double(smooth) * (weight_sum * log_sum - rest);
  }
  static SW_INLINE V ones(int64_t lanes) {
    V v{};
    for (int i = 0; i < Lanes<T>::n; ++i) v[i] = i < lanes ? S(1) : S(0);
    return v;
  }
  SW_INLINE double probability_loss(const T* x, const T* q, int64_t row) const {
    double max, log_sum;
    soften(x, row, max, log_sum);
    const S m = S(max), l = S(log_sum);
    return row_sum(x, a.classes, S(0), [&](V v, int64_t c, int64_t lanes) {
      const V loss = coefficient(q, c, lanes) * (l - (v - m));
      return lanes == Lanes<T>::n ? loss : loss * ones(lanes);
    });
  }
};

struct TaskSums {
  double loss, weight;
  int64_t bad_row;
};

template <class T, class Target>
void forward(const CrossEntropyArgs& a) {
  constexpr bool kIndex = dtype_of<Target> < DType::BFloat16;
  const RowLoss<T> rule(a);
  const int64_t step = rows_per_task(a), tasks = (a.rows + step - 1) / step;
  TaskSums* sums = static_cast<TaskSums*>(thread_scratch(0, size_t(tasks + 1) * sizeof(TaskSums)));
  const T* x = static_cast<const T*>(a.x);
  const Target* target = static_cast<const Target*>(a.target);
  parallel_for(a.rows, step, [&](int64_t begin, int64_t end) {
    TaskSums s{0, 0, -1};
    for (int64_t r = begin; r < end; ++r) {
      const T* row = x + r * a.classes;
      double loss = 0;
      if constexpr (kIndex) {
        const int64_t t = int64_t(target[r]);
        if (t != a.ignore_index) {
          if (t < 0 || t >= a.classes) {
            s.bad_row = r;
            break;
          }
          loss = rule.index_loss(row, r, t);
          s.weight += rule.weight_of(t);
        }
      } else {
        loss = rule.probability_loss(row, target + r * a.classes, r);
        s.weight += 1;
      }
      s.loss += loss;
      if (a.reduction == Reduction::None) static_cast<T*>(a.loss)[r] = T(accumulate_type<T>(loss));
    }
    sums[begin / step] = s;
  });
  double loss = 0, weight = 0;
  *a.bad_row = -1;
  for (int64_t i = 0; i < tasks; ++i) {
    loss += sums[i].loss;
    weight += sums[i].weight;
    if (*a.bad_row < 0) *a.bad_row = sums[i].bad_row;
  }
  *a.total_weight = weight;
  if (a.reduction == Reduction::Mean) loss /= weight;
  if (a.reduction != Reduction::None) *static_cast<T*>(a.loss) = T(accumulate_type<T>(loss));
}

// dx = g * (p * total - k): the terms that all columns share; for class indices the target's own k is put in
// afterwards.
template <class T, class K>
SW_INLINE void write_row(const CrossEntropyArgs& a, const T* x, T* dx, GradMode mode, int64_t row, double g,
                         double total, const K& k) {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const S max = a.logits ? S(a.rows_stats[row]) : S(0), gs = S(g);
  const S scale = a.logits ? S(g * total / a.rows_stats[a.rows + row]) : S(0);
  for_row(x, a.classes, S(0), [&](V v, int64_t c, int64_t lanes) {
    V d = -gs * k(c, lanes);
    if (a.logits) d += scale * vexp(v - max);
    if (mode == GradMode::Add) d += take(dx + c, lanes);
    put(dx + c, d, lanes);
  });
}

// The same for class indices without label smoothing (all k but the target's are 0) into new memory: dx = g total p.
template <class T>
void plain_row(const CrossEntropyArgs& a, const T* x, T* dx, int64_t row, double g, double total) {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const S max = S(a.rows_stats[row]), scale = S(g * total / a.rows_stats[a.rows + row]);
  for_row(x, a.classes, S(0), [=](V v, int64_t c, int64_t lanes) { put(dx + c, scale * vexp(v - max), lanes); });
}

template <class T>
void clear_row(T* dx, int64_t n, GradMode mode) {
  if (mode == GradMode::Write) __builtin_memset(static_cast<void*>(dx), 0, size_t(n) * sizeof(T));
}

template <class T>
void index_grad(const RowLoss<T>& rule, const CrossEntropyGradArgs& b, int64_t row, int64_t t, double g) {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const CrossEntropyArgs& a = b.forward;
  const T* x = static_cast<const T*>(a.x) + row * a.classes;
  T* dx = static_cast<T*>(b.dx.data) + row * a.classes;
  if (t == a.ignore_index) return clear_row(dx, a.classes, b.dx.mode);
  const double before = b.dx.mode == GradMode::Add ? double(dx[t]) : 0;
  const double hit = double(rule.keep) * rule.weight_of(t), total = hit + double(rule.smooth) * rule.weight_sum;
  if (a.logits && rule.smooth == 0 && b.dx.mode == GradMode::Write) {
    plain_row(a, x, dx, row, g, total);
  } else if (a.logits || b.dx.mode == GradMode::Write) {
    write_row(a, x, dx, b.dx.mode, row, g, total, [&](int64_t c, int64_t lanes) {
      return rule.smooth == 0 ? V{} : rule.w ? rule.weights(c, lanes) * rule.smooth : V{} + rule.smooth;
    });
  }
  double own = -(hit + double(rule.smooth) * rule.weight_of(t));
  if (a.logits) own += total * ::exp(double(x[t]) - a.rows_stats[row]) / a.rows_stats[a.rows + row];
  dx[t] = T(S(before + g * own));
}

template <class T>
void probability_grad(const RowLoss<T>& rule, const CrossEntropyGradArgs& b, int64_t row, double g) {
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const CrossEntropyArgs& a = b.forward;
  const T *x = static_cast<const T*>(a.x) + row * a.classes, *q = static_cast<const T*>(a.target) + row * a.classes;
  if (b.dx.mode != GradMode::Skip) {
    const double total = row_sum(q, a.classes, S(0), [&](V, int64_t c, int64_t lanes) {
      const V k = rule.coefficient(q, c, lanes);
      return lanes == Lanes<T>::n ? k : k * rule.ones(lanes);
    });
    write_row(a, x, static_cast<T*>(b.dx.data) + row * a.classes, b.dx.mode, row, g, total,
              [&](int64_t c, int64_t lanes) { return rule.coefficient(q, c, lanes); });
  }
  if (b.dtarget.mode == GradMode::Skip) return;
  T* dq = static_cast<T*>(b.dtarget.data) + row * a.classes;  // d loss / d q_c = (1 - e) * w_c * z_c
  const S max = S(a.rows_stats[row]), log_sum = S(::log(a.rows_stats[a.rows + row])), scale = S(g) * rule.keep;
  for_row(x, a.classes, S(0), [&](V v, int64_t c, int64_t lanes) {
    V d = scale * rule.weights(c, lanes) * (log_sum - (v - max));
    if (b.dtarget.mode == GradMode::Add) d += take(dq + c, lanes);
    put(dq + c, d, lanes);
  });
}

template <class T, class Target>
void backward(const CrossEntropyGradArgs& b) {
  constexpr bool kIndex = dtype_of<Target> < DType::BFloat16;
  const CrossEntropyArgs& a = b.forward;
  const RowLoss<T> rule(a);
  const T* dloss = static_cast<const T*>(b.dloss);
  const Target* target = static_cast<const Target*>(a.target);
  const double divisor = a.reduction == Reduction::Mean ? *a.total_weight : 1;
  parallel_for(a.rows, rows_per_task(a), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const double g = double(dloss[a.reduction == Reduction::None ? r : 0]) / divisor;
      if constexpr (kIndex) {
        if (b.dx.mode != GradMode::Skip) index_grad(rule, b, r, int64_t(target[r]), g);
      } else {
        probability_grad(rule, b, r, g);
      }
    }
  });
}

// f(Type<T>, Type<Target>): indices of three types, or probabilities of x's own.
template <class F>
SW_INLINE void dispatch(const CrossEntropyArgs& a, const F& f) {
  dispatch_float(a.dtype, [&]<class T>(Type<T> type) {
    switch (a.target_dtype) {
      case DType::Int64:
        return f(type, Type<int64_t>{});
      case DType::Int32:
        return f(type, Type<int32_t>{});
      case DType::UInt8:
        return f(type, Type<uint8_t>{});
      default:
        return f(type, type);
    }
  });
}

}  // namespace

void cross_entropy_forward(const CrossEntropyArgs& a) {
  dispatch(a, [&]<class T, class Target>(Type<T>, Type<Target>) { forward<T, Target>(a); });
}

void cross_entropy_backward(const CrossEntropyGradArgs& a) {
  dispatch(a.forward, [&]<class T, class Target>(Type<T>, Type<Target>) { backward<T, Target>(a); });
}

}  // namespace SW_ISA
}  // namespace skipway

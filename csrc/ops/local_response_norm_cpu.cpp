// Formulas: ops/local_response_norm.h. Each pixel's channels are a row; window sums run along it in float64.
#include "ops/local_response_norm.h"

#include <math.h>

#include "core/parallel.h"
#include "kernels/wide.h"

namespace skipway {
namespace SW_ISA {
namespace {

// out[c] = sum of in[j] over the window that reaches `before` to the left and `after` to the right.
void window_sums(const double* in, double* out, int64_t n, int64_t before, int64_t after) {
  for (int64_t c = 0; c < n; ++c) {
    double sum = 0;
    for (int64_t j = max64(0, c - before); j <= min64(n - 1, c + after); ++j) sum += in[j];
    out[c] = sum;
  }
}

template <class T, class F>
void for_rows(const LocalResponseArgs& a, const F& f) {
  const int64_t n = a.channels;
  parallel_for(a.rows, max64(1, 4096 / max64(1, n)), [&](int64_t begin, int64_t end) {
    double* room = static_cast<double*>(thread_scratch(0, size_t(3 * n + 1) * sizeof(double)));
    double *squares = room, *s = room + n;
    for (int64_t r = begin; r < end; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * n;
      for (int64_t c = 0; c < n; ++c) squares[c] = double(x[c]) * double(x[c]);
      window_sums(squares, s, n, a.size / 2, (a.size - 1) / 2);
      for (int64_t c = 0; c < n; ++c) s[c] = a.k + a.alpha / double(a.size) * s[c];
      f(r * n, x, s, squares, room + 2 * n);
    }
  });
}

template <class T>
void forward(const LocalResponseArgs& a) {
  for_rows<T>(a, [&](int64_t at, const T* x, const double* s, double*, double*) {
    T* y = static_cast<T*>(a.y) + at;
    for (int64_t c = 0; c < a.channels; ++c) y[c] = T(accumulate_type<T>(double(x[c]) * ::pow(s[c], -a.beta)));
  });
}

template <class T>
void backward(const LocalResponseArgs& a) {
  for_rows<T>(a, [&](int64_t at, const T* x, const double* s, double* terms, double* sums) {
    const T* dy = static_cast<const T*>(a.dy) + at;
    T* dx = static_cast<T*>(a.dx.data) + at;
    for (int64_t c = 0; c < a.channels; ++c) terms[c] = double(dy[c]) * double(x[c]) * ::pow(s[c], -a.beta - 1);
    window_sums(terms, sums, a.channels, (a.size - 1) / 2, a.size / 2);  // the windows that c is in: mirrored
    for (int64_t c = 0; c < a.channels; ++c) {
      const double own = double(dy[c]) * ::pow(s[c], -a.beta);
      const double d = own - 2 * a.alpha * a.beta / double(a.size) * double(x[c]) * sums[c];
      dx[c] = T(accumulate_type<T>(d + (a.dx.mode == GradMode::Add ? double(dx[c]) : 0)));
    }
  });
}

}  // namespace

void local_response_forward(const LocalResponseArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { forward<T>(a); });
}

void local_response_backward(const LocalResponseArgs& a) {
  if (a.dx.mode == GradMode::Skip) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { backward<T>(a); });
}

}  // namespace SW_ISA
}  // namespace skipway

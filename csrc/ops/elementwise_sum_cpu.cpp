#include "core/parallel.h"
#include "kernels/simd.h"
#include "ops/elementwise.h"

namespace skipway {
namespace SW_ISA {
namespace {

// Columns [first, first + width * lanes) of `rows` rows, width vectors at a time in registers.
template <class T, int width>
SW_INLINE void sum_columns(const T* in, int64_t stride, int64_t rows, typename Lanes<T>::scalar* out) {
  using V = typename Lanes<T>::vec;
  constexpr int n = Lanes<T>::n;
  V sum[width] = {};
  for (int64_t r = 0; r < rows; ++r)
    for (int k = 0; k < width; ++k) sum[k] += vload(in + r * stride + k * n);
  for (int k = 0; k < width; ++k) vstore(out + k * n, sum[k]);
}

// One slice: out[i] = sum over r of in[r * inner + i].
template <class T>
void sum_slice(const T* in, int64_t rows, int64_t inner, typename Lanes<T>::scalar* out) {
  using A = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  constexpr int64_t n = Lanes<T>::n;
  if (inner == 1) {
    V sum[4] = {};
    int64_t r = 0;
    for (; r + 4 * n <= rows; r += 4 * n)
      for (int k = 0; k < 4; ++k) sum[k] += vload(in + r + k * n);
    for (; r + n <= rows; r += n) sum[0] += vload(in + r);
    if (r < rows) sum[1] += vload_n(in + r, rows - r);
    *out = vsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    return;
  }
  int64_t i = 0;
  for (; i + 4 * n <= inner; i += 4 * n) sum_columns<T, 4>(in + i, inner, rows, out + i);
  for (; i + n <= inner; i += n) sum_columns<T, 1>(in + i, inner, rows, out + i);
  for (; i < inner; ++i) {
    A sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += A(in[r * inner + i]);
    out[i] = sum;
  }
}

}  // namespace

void elementwise_sum_middle(const SumMiddleArgs& a) {
  const int64_t slices = (a.middle + a.slice - 1) / a.slice;
  const int64_t work = a.slice * a.inner;
  dispatch_float(a.in_dtype, [&]<class T>(Type<T>) {
    using A = typename Lanes<T>::scalar;
    parallel_for(a.outer * slices, work < 32768 ? 32768 / (work + 1) + 1 : 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t first = task % slices * a.slice;
        const int64_t rows = a.middle - first < a.slice ? a.middle - first : a.slice;
        const T* in = static_cast<const T*>(a.in) + (task / slices * a.middle + first) * a.inner;
        sum_slice(in, rows, a.inner, static_cast<A*>(a.out) + task * a.inner);
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

#include "kernels/channels.h"
#include "ops/interpolate.h"

namespace skipway {
namespace SW_ISA {
namespace {

// NV vectors of channels of one output: the sum over taps of the three axes.
template <class T, int NV>
SW_INLINE void resample_at(const ResampleAxis* axis, const int64_t* o, const T* x, int64_t c, const T* end, T* y,
                           int64_t count) {
  using S = typename Lanes<T>::scalar;
  constexpr int L = Lanes<T>::n;
  Vec<T> total[NV] = {};
  for (int32_t i = axis[0].start[o[0]]; i < axis[0].start[o[0] + 1]; ++i) {
    for (int32_t j = axis[1].start[o[1]]; j < axis[1].start[o[1] + 1]; ++j) {
      const T* line = x + (axis[0].index[i] * axis[1].in + axis[1].index[j]) * axis[2].in * c;
      Vec<T> sum[NV] = {};
      for (int32_t k = axis[2].start[o[2]]; k < axis[2].start[o[2] + 1]; ++k) {
        const T* p = line + axis[2].index[k] * c;
        const S weight = S(axis[2].weight[k]);
        for (int v = 0; v < NV; ++v) sum[v] += load_channels(p + v * L, count - v * L, end) * weight;
      }
      const S weight = S(axis[0].weight[i] * axis[1].weight[j]);
      for (int v = 0; v < NV; ++v) total[v] += sum[v] * weight;
    }
  }
  for (int v = 0; v < NV; ++v) store_channels(y + v * L, total[v], count - v * L);
}

}  // namespace

void resample_kernel(const ResampleArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    const int64_t size[3] = {a.axis[0].out, a.axis[1].out, a.axis[2].out};
    const int64_t plane = a.axis[0].in * a.axis[1].in * a.axis[2].in * a.c;
    const T* end = static_cast<const T*>(a.x) + a.n * plane;
    for_positions(a.n, size, a.c, 4, 0, [&](int, int64_t n, const int64_t* o, int64_t c0, int64_t c1, int64_t flat) {
      const T* x = static_cast<const T*>(a.x) + n * plane;
      T* y = static_cast<T*>(a.y) + flat * a.c;
      int64_t c = c0;
      for (; c + 4 * Lanes<T>::n <= c1; c += 4 * Lanes<T>::n) {
        resample_at<T, 4>(a.axis, o, x + c, a.c, end, y + c, 4 * Lanes<T>::n);
      }
      for (; c < c1; c += Lanes<T>::n) resample_at<T, 1>(a.axis, o, x + c, a.c, end, y + c, c1 - c);
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

// Winograd's minimal filtering F(4x4, 3x3) (Winograd 1980; for convolutions Lavin & Gray 2016). A tile of 4x4 results
// of a 3x3 correlation needs a patch d of 6x6 source elements, and 36 products instead of 144:
//   y = A^T [(G g G^T) . (B^T d B)] A
// summed over source channels before A. The gradient of the filter is the same algorithm, transposed:
//   dg = G^T [sum over tiles (B^T d B) . (A dy A^T)] G
// The points at which the polynomials are taken are 0, +-3/4, +-3/2 and infinity. With 0, +-1, +-2, which is usual, the
// rounding error is about five times that of the plain sum; with these it is about twice, and A and B stay exact.
//
// Each function below is the one-dimensional transform, on vectors whose lanes are channels; both_axes makes it two.
// No result loses a NaN of its inputs: a source element reaches a result through at least one product that is in it.
#pragma once
#include "kernels/simd.h"

namespace skipway::SW_ISA {

inline constexpr int kWinoTile = 4, kWinoPatch = 6, kWinoPoints = 36;
// a and b are the points' magnitudes.
inline constexpr double kWinoA = 0.75, kWinoB = 1.5;
inline constexpr double kWinoA2 = kWinoA * kWinoA, kWinoB2 = kWinoB * kWinoB;

SW_INLINE vfloat times(double factor, vfloat x) { return x * float(factor); }

// v = B^T d, 6 to 6: row j holds the coefficients of the product of (x - point) over all other points.
struct WinoInput {
  template <class V>
  SW_INLINE void operator()(const V* d, V* v) const {
    const V even_a = d[4] - times(kWinoB2, d[2]), odd_a = d[3] - times(kWinoB2, d[1]);
    const V even_b = d[4] - times(kWinoA2, d[2]), odd_b = d[3] - times(kWinoA2, d[1]);
    v[0] = even_a + times(kWinoA2 * kWinoB2, d[0]) - times(kWinoA2, d[2]);
    v[1] = even_a + times(kWinoA, odd_a);
    v[2] = even_a - times(kWinoA, odd_a);
    v[3] = even_b + times(kWinoB, odd_b);
    v[4] = even_b - times(kWinoB, odd_b);
    v[5] = d[5] + times(kWinoA2 * kWinoB2, d[1]) - times(kWinoA2 + kWinoB2, d[3]);
  }
};

// y = A^T m, 6 to 4: y[i] = sum_j point_j^i m[j], the last point being infinity.
struct WinoOutput {
  template <class V>
  SW_INLINE void operator()(const V* m, V* y) const {
    const V sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    y[0] = m[0] + sum_a + sum_b;
    y[1] = times(kWinoA, difference_a) + times(kWinoB, difference_b);
    y[2] = times(kWinoA2, sum_a) + times(kWinoB2, sum_b);
    y[3] = m[5] + times(kWinoA * kWinoA2, difference_a) + times(kWinoB * kWinoB2, difference_b);
  }
};

// m = A y, 4 to 6.
struct WinoGradient {
  template <class V>
  SW_INLINE void operator()(const V* y, V* m) const {
    const V even_a = y[0] + times(kWinoA2, y[2]), odd_a = y[1] + times(kWinoA2, y[3]);
    const V even_b = y[0] + times(kWinoB2, y[2]), odd_b = y[1] + times(kWinoB2, y[3]);
    m[0] = y[0];
    m[1] = even_a + times(kWinoA, odd_a);
    m[2] = even_a - times(kWinoA, odd_a);
    m[3] = even_b + times(kWinoB, odd_b);
    m[4] = even_b - times(kWinoB, odd_b);
    m[5] = y[3];
  }
};

// The products of a point's distances to the other points, by which G divides.
inline constexpr double kWinoF0 = kWinoA2 * kWinoB2, kWinoFa = 2 * kWinoA2 * (kWinoA2 - kWinoB2),
                        kWinoFb = 2 * kWinoB2 * (kWinoB2 - kWinoA2);

// u = G g, 3 to 6: u[j] = (g[0] + point_j g[1] + point_j^2 g[2]) / f_j.
struct WinoFilter {
  template <class V>
  SW_INLINE void operator()(const V* g, V* u) const {
    const V even_a = g[0] + times(kWinoA2, g[2]), even_b = g[0] + times(kWinoB2, g[2]);
    u[0] = times(1 / kWinoF0, g[0]);
    u[1] = times(1 / kWinoFa, even_a + times(kWinoA, g[1]));
    u[2] = times(1 / kWinoFa, even_a - times(kWinoA, g[1]));
    u[3] = times(1 / kWinoFb, even_b + times(kWinoB, g[1]));
    u[4] = times(1 / kWinoFb, even_b - times(kWinoB, g[1]));
    u[5] = g[2];
  }
};

// g = G^T u, 6 to 3.
struct WinoFilterGradient {
  template <class V>
  SW_INLINE void operator()(const V* u, V* g) const {
    const V sum_a = times(1 / kWinoFa, u[1] + u[2]), difference_a = times(1 / kWinoFa, u[1] - u[2]);
    const V sum_b = times(1 / kWinoFb, u[3] + u[4]), difference_b = times(1 / kWinoFb, u[3] - u[4]);
    g[0] = times(1 / kWinoF0, u[0]) + sum_a + sum_b;
    g[1] = times(kWinoA, difference_a) + times(kWinoB, difference_b);
    g[2] = u[5] + times(kWinoA2, sum_a) + times(kWinoB2, sum_b);
  }
};

// store(i, j, ...) what a transform of both axes makes of load(i, j).
template <int FROM, int TO, class Transform, class Load, class Store>
SW_INLINE void both_axes(const Transform& transform, const Load& load, const Store& store) {
  using V = decltype(load(0, 0));
  V half[TO][FROM];
#pragma GCC unroll 6
  for (int j = 0; j < FROM; ++j) {
    V column[FROM], made[TO];
#pragma GCC unroll 6
    for (int i = 0; i < FROM; ++i) column[i] = load(i, j);
    transform(column, made);
#pragma GCC unroll 6
    for (int i = 0; i < TO; ++i) half[i][j] = made[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < TO; ++i) {
    V made[TO];
    transform(half[i], made);
#pragma GCC unroll 6
    for (int j = 0; j < TO; ++j) store(i, j, made[j]);
  }
}

}  // namespace skipway::SW_ISA

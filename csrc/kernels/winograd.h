// Winograd's minimal filtering F(4x4, 3x3) (Winograd 1980; for convolutions Lavin & Gray 2016). A tile of 4x4 results
// of a 3x3 correlation needs a patch d of 6x6 source elements, and 36 products instead of 144:
//   y = A^T [(G g G^T) . (B^T d B)] A
// summed over source channels before A. The gradient of the filter is the same algorithm, transposed:
//   dg = G^T [sum over tiles (B^T d B) . (A dy A^T)] G
// The points at which the polynomials are taken are 0, +-3/4, +-3/2 and infinity. With 0, +-1, +-2, which is usual, the
// rounding error is about five times that of the plain sum; with these it is about twice, and A and B stay exact.
//
// Each struct below is the one-dimensional transform of kFrom vectors to kTo, whose lanes are channels; both_axes makes
// it two. It is cut into parts, part P giving the outputs begin(P) to begin(P + 1), so that a part's intermediate
// values stay in registers. No result loses a NaN of its inputs: a source element reaches a result through at least one
// product that is in it.
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
  static constexpr int kFrom = 6, kTo = 6, kParts = 4;
  static constexpr int begin(int part) { return part == 0 ? 0 : part == 4 ? 6 : 2 * part - 1; }
  template <int PART, class V>
  SW_INLINE static void part(const V* d, V* v) {
    if constexpr (PART == 0) v[0] = d[4] + times(kWinoA2 * kWinoB2, d[0]) - times(kWinoA2 + kWinoB2, d[2]);
    if constexpr (PART == 1) pair(kWinoA, kWinoB2, d, v + 1);
    if constexpr (PART == 2) pair(kWinoB, kWinoA2, d, v + 3);
    if constexpr (PART == 3) v[5] = d[5] + times(kWinoA2 * kWinoB2, d[1]) - times(kWinoA2 + kWinoB2, d[3]);
  }
  template <class V>
  SW_INLINE static void pair(double point, double other2, const V* d, V* v) {
    const V even = d[4] - times(other2, d[2]), odd = d[3] - times(other2, d[1]);
    v[0] = even + times(point, odd);
    v[1] = even - times(point, odd);
  }
};

// y = A^T m, 6 to 4: y[i] = sum_j point_j^i m[j], the last point being infinity. Part 0 gives y[0] and y[2], which are
// next to each other in made[], part 1 y[1] and y[3]: see place().
struct WinoOutput {
  static constexpr int kFrom = 6, kTo = 4, kParts = 2;
  static constexpr int begin(int part) { return 2 * part; }
  template <int PART, class V>
  SW_INLINE static void part(const V* m, V* y) {
    if constexpr (PART == 0) {
      const V sum_a = m[1] + m[2], sum_b = m[3] + m[4];
      y[0] = m[0] + sum_a + sum_b;
      y[1] = times(kWinoA2, sum_a) + times(kWinoB2, sum_b);
    } else {
      const V difference_a = m[1] - m[2], difference_b = m[3] - m[4];
      y[2] = times(kWinoA, difference_a) + times(kWinoB, difference_b);
      y[3] = m[5] + times(kWinoA * kWinoA2, difference_a) + times(kWinoB * kWinoB2, difference_b);
    }
  }
  static constexpr int place(int i) { return i == 1 ? 2 : i == 2 ? 1 : i; }
};

// m = A y, 4 to 6.
struct WinoGradient {
  static constexpr int kFrom = 4, kTo = 6, kParts = 4;
  static constexpr int begin(int part) { return WinoInput::begin(part); }
  template <int PART, class V>
  SW_INLINE static void part(const V* y, V* m) {
    if constexpr (PART == 0) m[0] = y[0];
    if constexpr (PART == 1) pair(kWinoA, y, m + 1);
    if constexpr (PART == 2) pair(kWinoB, y, m + 3);
    if constexpr (PART == 3) m[5] = y[3];
  }
  template <class V>
  SW_INLINE static void pair(double point, const V* y, V* m) {
    const V even = y[0] + times(point * point, y[2]), odd = y[1] + times(point * point, y[3]);
    m[0] = even + times(point, odd);
    m[1] = even - times(point, odd);
  }
};

// The products of a point's distances to the other points, by which G divides.
inline constexpr double kWinoF0 = kWinoA2 * kWinoB2, kWinoFa = 2 * kWinoA2 * (kWinoA2 - kWinoB2),
                        kWinoFb = 2 * kWinoB2 * (kWinoB2 - kWinoA2);

// u = G g, 3 to 6: u[j] = (g[0] + point_j g[1] + point_j^2 g[2]) / f_j.
struct WinoFilter {
  static constexpr int kFrom = 3, kTo = 6, kParts = 1;
  static constexpr int begin(int part) { return 6 * part; }
  template <int PART, class V>
  SW_INLINE static void part(const V* g, V* u) {
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
  static constexpr int kFrom = 6, kTo = 3, kParts = 1;
  static constexpr int begin(int part) { return 3 * part; }
  template <int PART, class V>
  SW_INLINE static void part(const V* u, V* g) {
    const V sum_a = times(1 / kWinoFa, u[1] + u[2]), difference_a = times(1 / kWinoFa, u[1] - u[2]);
    const V sum_b = times(1 / kWinoFb, u[3] + u[4]), difference_b = times(1 / kWinoFb, u[3] - u[4]);
    g[0] = times(1 / kWinoF0, u[0]) + sum_a + sum_b;
    g[1] = times(kWinoA, difference_a) + times(kWinoB, difference_b);
    g[2] = u[5] + times(kWinoA2, sum_a) + times(kWinoB2, sum_b);
  }
};

// Where output i stands among made[].
template <class Transform>
constexpr int wino_place(int i) {
  if constexpr (requires { Transform::place(i); }) {
    return Transform::place(i);
  } else {
    return i;
  }
}

template <class Transform, int PART = 0, class V>
SW_INLINE void all_parts(const V* from, V* made) {
  Transform::template part<PART>(from, made);
  if constexpr (PART + 1 < Transform::kParts) all_parts<Transform, PART + 1>(from, made);
}

// store(i, j, x) for every x that the transform of both axes makes of load(i, j).
template <class Transform, int PART = 0, class Load, class Store>
SW_INLINE void both_axes(const Load& load, const Store& store) {
  using V = decltype(load(0, 0));
  constexpr int from = Transform::kFrom, to = Transform::kTo;
  constexpr int begin = Transform::begin(PART), rows = Transform::begin(PART + 1) - begin;
  V half[rows][from];
#pragma GCC unroll 6
  for (int j = 0; j < from; ++j) {
    V column[from], made[to];
#pragma GCC unroll 6
    for (int i = 0; i < from; ++i) column[i] = load(i, j);  // those that the part does not need are dropped
    Transform::template part<PART>(column, made);
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) half[i][j] = made[begin + i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) {
    V made[to];
    all_parts<Transform>(half[i], made);
#pragma GCC unroll 6
    for (int j = 0; j < to; ++j) store(wino_place<Transform>(begin + i), wino_place<Transform>(j), made[j]);
  }
  if constexpr (PART + 1 < Transform::kParts) both_axes<Transform, PART + 1>(load, store);
}

}  // namespace skipway::SW_ISA

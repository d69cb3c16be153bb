#include "kernels/vmath.h"
#include "kernels/walk.h"
#include "ops/elementwise.h"

namespace skipway {
namespace SW_ISA {
namespace {

// ---- one element, where there is no vector form
// -----------------------------------------------------------------------
SW_INLINE float pow_of(float a, float b) { return ::powf(a, b); }
SW_INLINE double pow_of(double a, double b) { return ::pow(a, b); }
SW_INLINE int64_t pow_of(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  uint64_t result = 1, base = uint64_t(a);
  for (; b; b >>= 1, base *= base)
    if (b & 1) result *= base;
  return int64_t(result);
}

SW_INLINE float fmod_of(float a, float b) { return ::fmodf(a, b); }
SW_INLINE double fmod_of(double a, double b) { return ::fmod(a, b); }
SW_INLINE float floor_of(float a) { return __builtin_floorf(a); }
SW_INLINE double floor_of(double a) { return __builtin_floor(a); }

// a - b floor(a / b), exact: fmod, moved by b where the signs differ.
template <class T>
SW_INLINE T remainder_of(T a, T b) {
  const T m = fmod_of(a, b);
  return m != 0 && (b < 0) != (m < 0) ? m + b : m;
}
template <class T>
SW_INLINE T floor_div_of(T a, T b) {
  if (b == 0) return a / b;
  const T m = fmod_of(a, b);
  T q = (a - m) / b;
  if (m != 0 && (b < 0) != (m < 0)) q -= 1;
  if (q == 0) return (a / b) * 0;  // a zero with the sign of the quotient
  const T down = floor_of(q);
  return q - down > T(0.5) ? down + 1 : down;
}

// Integers: division by 0 gives 0 and is reported; by -1 it must not overflow.
SW_INLINE int64_t trunc_div_of(int64_t a, int64_t b, int32_t* zero) {
  if (b == 0) __atomic_store_n(zero, 1, __ATOMIC_RELAXED);
  return b == 0 ? 0 : b == -1 ? int64_t(-uint64_t(a)) : a / b;
}
SW_INLINE int64_t fmod_int(int64_t a, int64_t b, int32_t* zero) {
  if (b == 0) __atomic_store_n(zero, 1, __ATOMIC_RELAXED);
  return b == 0 || b == -1 ? 0 : a % b;
}
SW_INLINE int64_t remainder_int(int64_t a, int64_t b, int32_t* zero) {
  const int64_t m = fmod_int(a, b, zero);
  return m != 0 && (b < 0) != (m < 0) ? m + b : m;
}
SW_INLINE int64_t floor_div_int(int64_t a, int64_t b, int32_t* zero) {
  const int64_t q = trunc_div_of(a, b, zero);
  return b != 0 && b != -1 && a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

SW_INLINE float atan2_of(float a, float b) { return ::atan2f(a, b); }
SW_INLINE double atan2_of(double a, double b) { return ::atan2(a, b); }
SW_INLINE float hypot_of(float a, float b) { return ::hypotf(a, b); }
SW_INLINE double hypot_of(double a, double b) { return ::hypot(a, b); }
SW_INLINE float log_of(float a) { return ::logf(a); }
SW_INLINE double log_of(double a) { return ::log(a); }
template <class T>
SW_INLINE T xlogy_of(T a, T b) {
  return b != b ? b : a == 0 ? T(0) : a * log_of(b);
}

// ---- a run of dense elements ----------------------------------------------------------------------------------------
template <class T>
using Pair = const T* const (&)[2];

#define SW_VECTOR(expression) \
  return map_wide<T, 2>(      \
      o, in, n, [&](typename Wide<T>::vec x, typename Wide<T>::vec y) -> typename Wide<T>::vec { return expression; })
#define SW_TRUTH(expression) SW_VECTOR((expression) ? one : zero)
#define SW_SCALAR(expression) return map_scalar<T, 2>(o, in, n, [&](T x, T y) -> T { return expression; })

template <class T>
void integer_run(const BinaryArgs& a, T* o, Pair<T> in, int64_t n) {
  int32_t* zero = a.div_zero;
  switch (a.op) {
    case BinaryOp::FloorDiv:
      SW_SCALAR(floor_div_int(x, y, zero));
    case BinaryOp::TruncDiv:
      SW_SCALAR(trunc_div_of(x, y, zero));
    case BinaryOp::Remainder:
      SW_SCALAR(remainder_int(x, y, zero));
    case BinaryOp::Fmod:
      SW_SCALAR(fmod_int(x, y, zero));
    case BinaryOp::BitAnd:
      SW_VECTOR(x & y);
    case BinaryOp::BitOr:
      SW_VECTOR(x | y);
    case BinaryOp::BitXor:
      SW_VECTOR(x ^ y);
    case BinaryOp::LeftShift:
      SW_SCALAR(y < 0 || y > 63 ? 0 : int64_t(uint64_t(x) << y));
    case BinaryOp::RightShift:
      SW_SCALAR(x >> (y < 0 || y > 63 ? 63 : y));
    default:
      return;
  }
}

template <class T>
void float_run(const BinaryArgs& a, T* o, Pair<T> in, int64_t n) {
  switch (a.op) {
    case BinaryOp::Div:
      SW_VECTOR(x / y);
    case BinaryOp::TruncDiv:
      SW_VECTOR(vtrunc(x / y));
    case BinaryOp::FloorDiv:
      SW_SCALAR(floor_div_of(x, y));
    case BinaryOp::Remainder:
      SW_SCALAR(remainder_of(x, y));
    case BinaryOp::Fmod:
      SW_SCALAR(fmod_of(x, y));
    case BinaryOp::Atan2:
      SW_SCALAR(atan2_of(x, y));
    case BinaryOp::Hypot:
      SW_SCALAR(hypot_of(x, y));
    case BinaryOp::Xlogy:
      SW_SCALAR(xlogy_of(x, y));
    case BinaryOp::CopySign:
      SW_SCALAR(__builtin_signbit(x) == __builtin_signbit(y) ? x : -x);
    default:
      return;
  }
}

template <class T>
void binary_run(const BinaryArgs& a, T* o, Pair<T> in, int64_t n) {
  using V = typename Wide<T>::vec;
  const V zero{}, one = zero + 1;
  switch (a.op) {
    case BinaryOp::Add:
      if (a.alpha == 1) SW_VECTOR(wide_add(x, y));
      {
        const V alpha = wide_set<T>(T(a.alpha));
        SW_VECTOR(wide_add(x, wide_mul(alpha, y)));
      }
    case BinaryOp::Sub:
      if (a.alpha == 1) SW_VECTOR(wide_sub(x, y));
      {
        const V alpha = wide_set<T>(T(a.alpha));
        SW_VECTOR(wide_sub(x, wide_mul(alpha, y)));
      }
    case BinaryOp::RSub: {
      const V alpha = wide_set<T>(T(a.alpha));
      SW_VECTOR(wide_sub(y, wide_mul(alpha, x)));
    }
    case BinaryOp::Mul:
      SW_VECTOR(wide_mul(x, y));
    case BinaryOp::Max:
      SW_VECTOR(x > y ? x : (x != x ? x : y));
    case BinaryOp::Min:
      SW_VECTOR(x < y ? x : (x != x ? x : y));
    case BinaryOp::Eq:
      SW_TRUTH(x == y);
    case BinaryOp::Ne:
      SW_TRUTH(x != y);
    case BinaryOp::Lt:
      SW_TRUTH(x < y);
    case BinaryOp::Le:
      SW_TRUTH(x <= y);
    case BinaryOp::Gt:
      SW_TRUTH(x > y);
    case BinaryOp::Ge:
      SW_TRUTH(x >= y);
    case BinaryOp::LogicalAnd:
      SW_TRUTH((x != zero) & (y != zero));
    case BinaryOp::LogicalOr:
      SW_TRUTH((x != zero) | (y != zero));
    case BinaryOp::LogicalXor:
      SW_TRUTH((x != zero) ^ (y != zero));
    case BinaryOp::Pow:
      SW_SCALAR(pow_of(x, y));
    default:
      if constexpr (is_floating(dtype_of<T>)) {
        return float_run(a, o, in, n);
      } else {
        return integer_run(a, o, in, n);
      }
  }
}

// Those that are cheaper than the conversion of a chunk are worked out on bfloat16 in place.
bool cheap(const BinaryArgs& a) {
  return (a.op == BinaryOp::Add || a.op == BinaryOp::Sub || a.op == BinaryOp::Mul) &&
         all_bfloat16<2>(a.out, {&a.a, &a.b});
}
void cheap_run(const BinaryArgs& a, bfloat16* o, Pair<bfloat16> in, int64_t n) {
  if (a.op == BinaryOp::Mul) return map_wide<bfloat16, 2>(o, in, n, [](vfloat x, vfloat y) { return x * y; });
  const float factor = a.op == BinaryOp::Sub ? -float(a.alpha) : float(a.alpha);
  if (factor == 1) return map_wide<bfloat16, 2>(o, in, n, [](vfloat x, vfloat y) { return x + y; });
  map_wide<bfloat16, 2>(o, in, n, [&](vfloat x, vfloat y) { return x + factor * y; });
}

}  // namespace

void elementwise_binary(const BinaryArgs& a) {
  if (cheap(a)) {
    return run_elementwise<bfloat16, 2>(a.numel, a.out, {&a.a, &a.b},
                                        [&](bfloat16* o, Pair<bfloat16> in, int64_t n) { cheap_run(a, o, in, n); });
  }
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    run_elementwise<T, 2>(a.numel, a.out, {&a.a, &a.b},
                          [&](T* o, const T* const(&in)[2], int64_t n) { binary_run<T>(a, o, in, n); });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

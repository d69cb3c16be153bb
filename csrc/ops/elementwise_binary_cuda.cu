// Two operands. Memory-bound: two reads and one write. Arithmetic of one floating dtype goes in packs of 128 bits, also
// where an operand is broadcast along rows or columns (a bias, a channel's scale); the rest element by element.
#include "core/cuda_fault.h"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/math.cuh"
#include "ops/elementwise.h"

namespace skipway::cuda {
namespace {

template <class T, int N, class F>
__device__ __forceinline__ void each(T (&o)[N], const T (&x)[N], const T (&y)[N], const F& f) {
#pragma unroll
  for (int k = 0; k < N; ++k) o[k] = f(x[k], y[k]);
}

bool is_common(BinaryOp op) {
  switch (op) {
    case BinaryOp::Add:
    case BinaryOp::Sub:
    case BinaryOp::RSub:
    case BinaryOp::Mul:
    case BinaryOp::Div:
    case BinaryOp::Max:
    case BinaryOp::Min:
      return true;
    default:
      return false;
  }
}

template <class T, int N>
__device__ __forceinline__ void apply(BinaryOp op, T alpha, T (&o)[N], const T (&x)[N], const T (&y)[N]) {
  switch (op) {
    case BinaryOp::Add:
      return each(o, x, y, [=](T x, T y) { return x + alpha * y; });
    case BinaryOp::Sub:
      return each(o, x, y, [=](T x, T y) { return x - alpha * y; });
    case BinaryOp::RSub:
      return each(o, x, y, [=](T x, T y) { return y - alpha * x; });
    case BinaryOp::Mul:
      return each(o, x, y, [](T x, T y) { return x * y; });
    case BinaryOp::Div:
      return each(o, x, y, [](T x, T y) { return x / y; });
    case BinaryOp::Max:
      return each(o, x, y, [](T x, T y) { return x > y || x != x ? x : y; });
    default:  // Min
      return each(o, x, y, [](T x, T y) { return x < y || x != x ? x : y; });
  }
}

// ---- one element ----------------------------------------------------------------------------------------------------
// a - b floor(a / b), exact: fmod, moved by b where the signs differ.
template <class T>
__device__ __forceinline__ T remainder_of(T a, T b) {
  const T m = dfmod(a, b);
  return m != 0 && (b < 0) != (m < 0) ? m + b : m;
}
template <class T>
__device__ __forceinline__ T floor_div_of(T a, T b) {
  if (b == 0) return a / b;
  const T m = dfmod(a, b);
  T q = (a - m) / b;
  if (m != 0 && (b < 0) != (m < 0)) q -= 1;
  if (q == 0) return (a / b) * 0;  // a zero with the sign of the quotient
  const T down = dfloor(q);
  return q - down > T(0.5) ? down + 1 : down;
}

template <class T>
__device__ __forceinline__ T floating(BinaryOp op, T x, T y) {
  switch (op) {
    case BinaryOp::FloorDiv:
      return floor_div_of(x, y);
    case BinaryOp::TruncDiv:
      return dtrunc(x / y);
    case BinaryOp::Remainder:
      return remainder_of(x, y);
    case BinaryOp::Fmod:
      return dfmod(x, y);
    case BinaryOp::Pow:
      return dpow(x, y);
    case BinaryOp::Atan2:
      return datan2(x, y);
    case BinaryOp::Hypot:
      return dhypot(x, y);
    case BinaryOp::Xlogy:
      return y != y ? y : x == 0 ? T(0) : x * dlog(y);
    default:  // CopySign: the bit of a NaN counts too
      return dcopysign(T(1), x) == dcopysign(T(1), y) ? x : -x;
  }
}

__device__ __forceinline__ int64_t power(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  uint64_t result = 1, base = uint64_t(a);
  for (; b; b >>= 1, base *= base)
    if (b & 1) result *= base;
  return int64_t(result);
}

// Division by 0 is a fault and gives 0; by -1 it must not overflow.
__device__ __forceinline__ int64_t divide(BinaryOp op, int64_t a, int64_t b, Fault* fault) {
  if (b == 0) {
    raise_fault(fault, kDivisionByZero, a, 0);
    return 0;
  }
  const bool minus_one = b == -1;
  const int64_t q = minus_one ? int64_t(-uint64_t(a)) : a / b, m = minus_one ? 0 : a % b;
  const bool lower = m != 0 && (b < 0) != (m < 0);  // the quotient's floor is below q
  switch (op) {
    case BinaryOp::FloorDiv:
      return lower ? q - 1 : q;
    case BinaryOp::TruncDiv:
      return q;
    case BinaryOp::Remainder:
      return lower ? m + b : m;
    default:  // Fmod
      return m;
  }
}

__device__ __forceinline__ int64_t integer(BinaryOp op, int64_t alpha, int64_t x, int64_t y, Fault* fault) {
  switch (op) {
    case BinaryOp::Add:
      return int64_t(uint64_t(x) + uint64_t(alpha) * uint64_t(y));
    case BinaryOp::Sub:
      return int64_t(uint64_t(x) - uint64_t(alpha) * uint64_t(y));
    case BinaryOp::RSub:
      return int64_t(uint64_t(y) - uint64_t(alpha) * uint64_t(x));
    case BinaryOp::Mul:
      return int64_t(uint64_t(x) * uint64_t(y));
    case BinaryOp::Max:
      return x > y ? x : y;
    case BinaryOp::Min:
      return x < y ? x : y;
    case BinaryOp::Pow:
      return power(x, y);
    case BinaryOp::BitAnd:
      return x & y;
    case BinaryOp::BitOr:
      return x | y;
    case BinaryOp::BitXor:
      return x ^ y;
    case BinaryOp::LeftShift:
      return y < 0 || y > 63 ? 0 : int64_t(uint64_t(x) << y);
    case BinaryOp::RightShift:
      return x >> (y < 0 || y > 63 ? 63 : y);
    default:
      return divide(op, x, y, fault);
  }
}

template <class T>
__device__ __forceinline__ bool truth(BinaryOp op, T x, T y) {
  switch (op) {
    case BinaryOp::Eq:
      return x == y;
    case BinaryOp::Ne:
      return x != y;
    case BinaryOp::Lt:
      return x < y;
    case BinaryOp::Le:
      return x <= y;
    case BinaryOp::Gt:
      return x > y;
    case BinaryOp::Ge:
      return x >= y;
    case BinaryOp::LogicalAnd:
      return (x != 0) & (y != 0);
    case BinaryOp::LogicalOr:
      return (x != 0) | (y != 0);
    default:  // LogicalXor
      return (x != 0) ^ (y != 0);
  }
}
SW_INLINE bool is_truth(BinaryOp op) { return op >= BinaryOp::Eq && op <= BinaryOp::LogicalXor; }
SW_INLINE bool is_arithmetic(BinaryOp op) { return op <= BinaryOp::Div || op == BinaryOp::Max || op == BinaryOp::Min; }

template <class T>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    binary_packs(int64_t n, BinaryOp op, math_type<T> alpha, const __grid_constant__ DeviceWalk out,
                 const __grid_constant__ DeviceWalk a, const __grid_constant__ DeviceWalk b) {
  constexpr int N = kPack<T>;
  for_runs<N>(n, [&](int64_t i, int count) {
    math_type<T> x[N], y[N], o[N];
    load_run<T>(a, i, count, x);
    load_run<T>(b, i, count, y);
    apply(op, alpha, o, x, y);
    store_run<T>(out, i, count, o);
  });
}

template <class C>
__global__ void __launch_bounds__(kElementThreads, kElementBlocks)
    binary_any(int64_t n, BinaryOp op, C alpha, Fault* fault, const __grid_constant__ DeviceWalk out,
               const __grid_constant__ DeviceWalk a, const __grid_constant__ DeviceWalk b) {
  for_runs<1>(n, [&](int64_t i, int) {
    const C x[1] = {a.read<C>(i)}, y[1] = {b.read<C>(i)};
    C o[1];
    if (is_truth(op)) {
      o[0] = C(truth(op, x[0], y[0]));
    } else if constexpr (is_floating(dtype_of<C>)) {
      if (is_arithmetic(op)) {
        apply(op, alpha, o, x, y);
      } else {
        o[0] = floating(op, x[0], y[0]);
      }
    } else {
      o[0] = integer(op, alpha, x[0], y[0], fault);
    }
    out.write<C>(i, o[0]);
  });
}

}  // namespace

SW_CUDA_KERNEL(elementwise_binary, args, stream) {
  const DType d = args.out.dtype;
  const int pack = int(16 / size_of(d));
  const DeviceWalk out(args.out, args.numel), a(args.a, args.numel), b(args.b, args.numel);
  if (is_floating(d) && accumulate_dtype(d) == args.compute && is_common(args.op) &&
      walks_in_packs(args.out, d, pack, true) && walks_in_packs(args.a, d, pack) && walks_in_packs(args.b, d, pack)) {
    return dispatch_cuda(d, [&]<class T>(Type<T>) {
      rt::launch(binary_packs<T>, element_grid(args.numel, pack, stream), args.numel, args.op, math_type<T>(args.alpha),
                 out, a, b);
    });
  }
  dispatch_compute(args.compute, [&]<class C>(Type<C>) {
    rt::launch(binary_any<C>, element_grid(args.numel, 1, stream), args.numel, args.op, C(args.alpha), stream.fault,
               out, a, b);
  });
}

}  // namespace skipway::cuda

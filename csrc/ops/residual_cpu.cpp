#include "ops/residual.h"

#include "core/parallel.h"
#include "kernels/fused.h"
#include "kernels/partial.h"
#include "kernels/stream.h"
#include "kernels/wide.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 32768;

// Where a gradient goes.
template <class T>
struct Target {
  T* p;
  GradMode mode;
  bool past;  // the caches
  SW_INLINE Target(Grad g, int64_t n)
      : p(static_cast<T*>(g.data)),
        mode(g.mode),
        past(mode == GradMode::Write && streams(p, n * int64_t(sizeof(T)), Lanes<T>::n * int64_t(sizeof(T)))) {}
  SW_INLINE void deliver(int64_t i, int64_t lanes, typename Lanes<T>::vec v) const {
    if (mode == GradMode::Skip) return;
    if (past && lanes == Lanes<T>::n) return vstore_past(p + i, v);
    if (mode == GradMode::Add) v += take(p + i, lanes);
    put(p + i, v, lanes);
  }
};

template <class T, FusedAct A>
void forward(const ResidualAddArgs& a) {
  constexpr int L = Lanes<T>::n;
  using S = typename Lanes<T>::scalar;
  const T *x = static_cast<const T*>(a.x), *branch = static_cast<const T*>(a.branch);
  T* y = static_cast<T*>(a.y);
  const S scale = S(a.scale);
  const bool past = streams(y, a.n * int64_t(sizeof(T)), L * int64_t(sizeof(T)));
  parallel_for(a.n, kTaskElements, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + L <= end; i += L) vstore_either(y + i, fused_act<A>(vload(x + i) + scale * vload(branch + i)), past);
    const int64_t m = end - i;
    if (m) put(y + i, fused_act<A>(take(x + i, m) + scale * take(branch + i, m)), m);
    finish_stores(past);
  });
}

// relu's dx = y <= 0 ? 0 : dy on the bits of bfloat16: as integers, they compare with 0 as the numbers do, but for NaN.
typedef int16_t vbits __attribute__((vector_size(kVecBytes)));

void relu_backward_bits(int64_t n, const bfloat16* dy, const bfloat16* y, bfloat16* dx) {
  constexpr int64_t L = kVecBytes / 2;
  const bool past = streams(dx, n * 2, kVecBytes);
  const auto masked = [](vbits g, vbits v) -> vbits { return g & ((v > 0) | ((v & 0x7fff) > 0x7f80)); };
  parallel_for(n, kTaskElements, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + L <= end; i += L) {
      const vbits out = masked(load_raw<vbits>(dy + i), load_raw<vbits>(y + i));
      if (past) {
        store_past(dx + i, out);
      } else {
        __builtin_memcpy(static_cast<void*>(dx + i), &out, sizeof out);
      }
    }
    if (const size_t rest = size_t(end - i) * 2) {
      vbits g{}, v{};
      __builtin_memcpy(&g, dy + i, rest);
      __builtin_memcpy(&v, y + i, rest);
      const vbits out = masked(g, v);
      __builtin_memcpy(static_cast<void*>(dx + i), &out, rest);
    }
    finish_stores(past);
  });
}

template <class T, FusedAct A>
void backward(const ResidualAddGradArgs& a) {
  constexpr int L = Lanes<T>::n;
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const T *dy = static_cast<const T*>(a.dy), *y = static_cast<const T*>(a.y);
  const S scale = S(a.scale);
  if constexpr (dtype_of<T> == DType::BFloat16 && A == FusedAct::Relu) {
    if (a.dx.mode == GradMode::Write && a.dbranch.mode == GradMode::Skip)
      return relu_backward_bits(a.n, dy, y, static_cast<bfloat16*>(a.dx.data));
  }
  const Target<T> dx(a.dx, a.n), dbranch(a.dbranch, a.n);
  parallel_for(a.n, kTaskElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += L) {
      const int64_t m = min64(L, end - i);
      V dz = take(dy + i, m);
      if constexpr (A != FusedAct::None) dz = fused_act_grad<A>(dz, take(y + i, m));
      dx.deliver(i, m, dz);
      dbranch.deliver(i, m, scale * dz);
    }
    finish_stores(dx.past || dbranch.past);
  });
}

}  // namespace

void residual_add_forward(const ResidualAddArgs& a) {
  dispatch_float(
      a.dtype, [&]<class T>(Type<T>) { dispatch_act(a.activation, [&]<FusedAct A>(ActTag<A>) { forward<T, A>(a); }); });
}

void residual_add_backward(const ResidualAddGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    dispatch_act(a.activation, [&]<FusedAct A>(ActTag<A>) { backward<T, A>(a); });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

#include "ops/residual.h"

#include "core/parallel.h"
#include "kernels/fused.h"
#include "kernels/partial.h"
#include "kernels/wide.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 32768;

template <class T>
SW_INLINE void deliver(Grad g, int64_t i, int64_t lanes, typename Lanes<T>::vec v) {
  if (g.mode == GradMode::Skip) return;
  T* p = static_cast<T*>(g.data) + i;
  if (g.mode == GradMode::Add) v += take(p, lanes);
  put(p, v, lanes);
}

template <class T, FusedAct A>
void forward(const ResidualAddArgs& a) {
  constexpr int L = Lanes<T>::n;
  using S = typename Lanes<T>::scalar;
  const T *x = static_cast<const T*>(a.x), *branch = static_cast<const T*>(a.branch);
  T* y = static_cast<T*>(a.y);
  const S scale = S(a.scale);
  parallel_for(a.n, kTaskElements, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + L <= end; i += L) vstore(y + i, fused_act<A>(vload(x + i) + scale * vload(branch + i)));
    const int64_t m = end - i;
    if (m) put(y + i, fused_act<A>(take(x + i, m) + scale * take(branch + i, m)), m);
  });
}

template <class T, FusedAct A>
void backward(const ResidualAddGradArgs& a) {
  constexpr int L = Lanes<T>::n;
  using S = typename Lanes<T>::scalar;
  using V = typename Lanes<T>::vec;
  const T *dy = static_cast<const T*>(a.dy), *y = static_cast<const T*>(a.y);
  const S scale = S(a.scale);
  parallel_for(a.n, kTaskElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += L) {
      const int64_t m = min64(L, end - i);
      V dz = take(dy + i, m);
      if constexpr (A != FusedAct::None) dz = fused_act_grad<A>(dz, take(y + i, m));
      deliver<T>(a.dx, i, m, dz);
      deliver<T>(a.dbranch, i, m, scale * dz);
    }
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

// The activations of fused_args.h on vectors.
#pragma once
#include "kernels/fused_args.h"
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

template <class V>
SW_INLINE V vsplat(double value) {
  V zero{};
  return zero + (__typeof__(zero[0]))value;
}

// act(z), lane by lane. NaN stays NaN.
template <FusedAct A, class V>
SW_INLINE V fused_act(V z) {
  const V zero{};
  if constexpr (A == FusedAct::Relu) {
    return z < zero ? zero : z;
  } else if constexpr (A == FusedAct::LeakyRelu) {
    return z < zero ? z * vsplat<V>(0.01) : z;
  } else if constexpr (A == FusedAct::Relu6) {
    const V six = vsplat<V>(6), low = z < zero ? zero : z;
    return low > six ? six : low;
  } else {
    return z;
  }
}

// dy * act'(z), where y = act(z). Zero where relu's output is zero.
template <FusedAct A, class V>
SW_INLINE V fused_act_grad(V dy, V y) {
  const V zero{};
  if constexpr (A == FusedAct::Relu) {
    return y <= zero ? zero : dy;
  } else if constexpr (A == FusedAct::LeakyRelu) {
    return y < zero ? dy * vsplat<V>(0.01) : dy;
  } else if constexpr (A == FusedAct::Relu6) {
    return (y <= zero) | (y >= vsplat<V>(6)) ? zero : dy;
  } else {
    return dy;
  }
}

// f(integral constant) for the activation known at run time.
template <FusedAct A>
struct ActTag {
  static constexpr FusedAct value = A;
};
template <class F>
SW_INLINE void dispatch_act(FusedAct a, const F& f) {
  switch (a) {
    case FusedAct::None:
      return f(ActTag<FusedAct::None>{});
    case FusedAct::Relu:
      return f(ActTag<FusedAct::Relu>{});
    case FusedAct::LeakyRelu:
      return f(ActTag<FusedAct::LeakyRelu>{});
    case FusedAct::Relu6:
      return f(ActTag<FusedAct::Relu6>{});
  }
}

}  // namespace SW_ISA
}  // namespace skipway

// The activations of fused_args.h, element by element. NaN stays NaN.
#pragma once
#include "kernels/cuda/launch.cuh"
#include "kernels/fused_args.h"

namespace skipway::cuda {

template <class T>
__device__ __forceinline__ T fused_act(FusedAct act, T z) {
  switch (act) {
    case FusedAct::Relu:
      return z < T(0) ? T(0) : z;
    case FusedAct::LeakyRelu:
      return z < T(0) ? z * T(0.01) : z;
    case FusedAct::Relu6:
      return z < T(0) ? T(0) : z > T(6) ? T(6) : z;
    default:
      return z;
  }
}

// dy * act'(z), where y = act(z)
template <class T>
__device__ __forceinline__ T fused_act_grad(FusedAct act, T dy, T y) {
  switch (act) {
    case FusedAct::Relu:
      return y <= T(0) ? T(0) : dy;
    case FusedAct::LeakyRelu:
      return y < T(0) ? dy * T(0.01) : dy;
    case FusedAct::Relu6:
      return y <= T(0) || y >= T(6) ? T(0) : dy;
    default:
      return dy;
  }
}

// Does the derivative pass z's gradient on as it is? (For a mask of bits.)
template <class T>
__device__ __forceinline__ bool fused_act_passes(FusedAct act, T z) {
  return act == FusedAct::LeakyRelu ? !(z < T(0)) : !(z <= T(0)) && !(act == FusedAct::Relu6 && z >= T(6));
}
// The same from a bit that was kept.
template <class T>
__device__ __forceinline__ T fused_act_grad_bit(FusedAct act, T dy, bool passes) {
  return passes ? dy : act == FusedAct::LeakyRelu ? dy * T(0.01) : T(0);
}

}  // namespace skipway::cuda

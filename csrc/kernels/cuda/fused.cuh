// The activations of fused_args.h, element by element; and a normalisation before one. NaN stays NaN.
#pragma once
#include "kernels/conv_fused_args.h"
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

// (x - mean) * scale + shift: the same bits wherever it is computed, as relu's mask is sometimes computed again, and a
// convolution's prologue stands for what the normalisation would write.
__device__ __forceinline__ float affine(float x, float mean, float scale, float shift) {
  return fmaf(x - mean, scale, shift);
}
__device__ __forceinline__ double affine(double x, double mean, double scale, double shift) {
  return fma(x - mean, scale, shift);
}

// dz = dy * act'(z) where T(act(z)) was the result: relu of what T rounds to zero passes nothing on.
template <class T, class A>
__device__ __forceinline__ A stored_act_grad(FusedAct act, A dy, A z) {
  return fused_act_grad(act, dy, act == FusedAct::Relu ? A(T(z)) : z);
}

// What a convolution reads in place of x.
template <class T>
__device__ __forceinline__ T through_prologue(const ConvPrologue& p, int64_t c, T x) {
  return T(fused_act(p.act, affine(float(x), p.mean ? p.mean[c] : 0.0f, p.scale[c], p.shift[c])));
}

}  // namespace skipway::cuda

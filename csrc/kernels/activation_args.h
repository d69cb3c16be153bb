// Which activation functions there are, and their numbers.
#pragma once
#include "core/dtype.h"

namespace skipway {

enum class Activation : uint8_t {
  Identity,
  Relu,
  NegRelu,
  LeakyRelu,
  Elu,
  Gelu,
  GeluTanh,
  Softplus,
  Silu,
  Mish,
  Hardtanh,
  Hardswish,
  Hardsigmoid,
  Softsign,
  LogSigmoid,
  Tanhshrink,
  Softshrink,
  Hardshrink,
  Threshold,
};
// What an activation's numbers mean stands at its functor in activations.h.
struct ActivationParams {
  double a = 0, b = 0, c = 0;
};
SW_INLINE constexpr bool activation_saves_output(Activation f, const ActivationParams& p) {
  return f == Activation::Relu || f == Activation::Hardtanh || (f == Activation::LeakyRelu && p.a >= 0);
}

}  // namespace skipway

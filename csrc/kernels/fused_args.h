// Activations that other kernels apply on their way out: relu, leaky_relu (slope 0.01) and relu6. Each one's gradient
// follows from its output, so no input has to be kept for it.
#pragma once
#include <cstdint>

namespace skipway {

enum class FusedAct : uint8_t { None, Relu, LeakyRelu, Relu6 };

}  // namespace skipway

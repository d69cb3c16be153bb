// Fully connected layer:   y = act(z),   z = x w^T + bias,   x (..., in), w (out, in), bias (out)
// Backward, with dz = dy * act'(z) (act' follows from y):   dx = dz w,   dw = dz^T x (rows summed),   dbias = sum of dz
// over rows
#pragma once
#include <optional>
#include <string>

#include "core/tensor.h"

namespace skipway {

// activation: none, or a name; "relu", "leaky_relu" (slope 0.01) and "relu6" are applied by the product's kernel on its
// way out, the others by an op of their own.
Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias,
              const std::optional<std::string>& activation = {});

}  // namespace skipway

// Fully connected layer:   y = x w^T + bias,   x (..., in), w (out, in), bias (out)
// Backward:   dx = dy w,   dw = dy^T x (rows summed),   dbias = sum of dy over rows
#pragma once
#include "core/tensor.h"

namespace skipway {

Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias);

}  // namespace skipway

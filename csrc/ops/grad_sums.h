// Sums that the data gradient of a convolution leaves for the backward pass of the norm whose result the convolution
// read (ConvGradSums): they belong to the gradient, and hold as long as nobody adds to it or changes it.
//
// Sums in a convolution's order are not the bits of sums in the norm's own order, and there are some only where the
// norm was still deferred when the convolution's backward ran. So they are off unless asked for.
#pragma once
#include "core/tensor.h"
#include "kernels/fused_args.h"

namespace skipway {

bool grad_sums_enabled();
void set_grad_sums_enabled(bool on);
int64_t grad_sums_taken();  // since the program began, for tests

// Of the norm with these coefficients (ChannelNormArgs) and this activation.
void leave_grad_sums(const Tensor& gradient, const Tensor& coefficients, FusedAct activation, const Tensor& sums);
// Undefined if there are none for this gradient as it is now.
Tensor take_grad_sums(const Tensor& gradient, const Tensor& coefficients, FusedAct activation);

}  // namespace skipway

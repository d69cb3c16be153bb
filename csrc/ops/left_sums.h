// Sums that a convolution leaves for a batch norm: they belong to the tensor that it wrote, and hold as long as nobody
// changes it. Its data gradient has some for the backward pass of the norm whose result it read (ConvGradSums), and its
// forward pass for the norm that reads its result: mean and squared deviations (ConvEpilogue).
//
// Sums in a convolution's order are not the bits of sums in the norm's own order, and a gradient has some only where
// the norm was still deferred when the convolution's backward ran. So both are off unless asked for.
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

bool moments_enabled();
void set_moments_enabled(bool on);
int64_t moments_used();  // since the program began, for tests

// moments: [2][channels], float64.
void leave_moments(const Tensor& result, const Tensor& moments);
// Undefined if there are none for x as it is now. x: all of its memory.
Tensor moments_left(const Tensor& x);

}  // namespace skipway

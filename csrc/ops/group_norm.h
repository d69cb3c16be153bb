// Group normalisation (Wu & He 2018) and instance normalisation (Ulyanov et al. 2016): statistics of each sample, over
// its spatial values and the channels of a group (one channel in instance norm). Formulas, kernels: ops/batch_norm.h.
#pragma once
#include <optional>
#include <string>

#include "core/tensor.h"

namespace skipway {

// input: (N, C, ...), C divisible by num_groups; weight, bias: (C,) or undefined.
Tensor group_norm(const Tensor& input, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps);

// input: (N, C, spatial...). With use_input_stats, running statistics (if any) move towards the batch's average over
// the samples; without, they are what normalises.
Tensor instance_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                     const Tensor& bias, bool use_input_stats, double momentum, double eps);

}  // namespace skipway

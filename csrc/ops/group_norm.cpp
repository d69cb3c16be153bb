#include "ops/group_norm.h"

#include "ops/batch_norm.h"

namespace skipway {

Tensor group_norm(const Tensor& input, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps) {
  check_defined("group_norm", "input", input);
  check_floating("group_norm", "input", input);
  SW_CHECK_SHAPE(input.dim() >= 2, "group_norm: expected input (N, C, ...) of at least 2 dimensions, got ",
                 input.shape());
  SW_CHECK_VALUE(num_groups > 0, "group_norm: expected num_groups > 0, got ", num_groups);
  SW_CHECK_VALUE(input.size(1) % num_groups == 0, "group_norm: expected a number of channels divisible by num_groups ",
                 num_groups, ", got input ", input.shape(), " with ", input.size(1), " channels");
  ChannelNormSpec spec;
  spec.name = "group_norm";
  spec.per_sample = true;
  spec.groups = num_groups;
  spec.eps = eps;
  return channel_norm(spec, input, {}, {}, weight, bias, {});
}

Tensor instance_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                     const Tensor& bias, bool use_input_stats, double momentum, double eps) {
  check_defined("instance_norm", "input", input);
  check_floating("instance_norm", "input", input);
  SW_CHECK_SHAPE(input.dim() >= 3, "instance_norm: expected input (N, C, spatial...) of at least 3 dimensions, got ",
                 input.shape());
  int64_t values = 1;
  for (int i = 2; i < input.dim(); ++i) values *= input.size(i);
  SW_CHECK_VALUE(!use_input_stats || values != 1,
                 "instance_norm: expected more than 1 spatial value per channel, got input ", input.shape());
  ChannelNormSpec spec;
  spec.name = "instance_norm";
  spec.per_sample = use_input_stats;
  spec.groups = input.size(1);
  spec.batch_stats = use_input_stats;
  spec.momentum = momentum;
  spec.eps = eps;
  return channel_norm(spec, input, running_mean, running_var, weight, bias, {});
}

}  // namespace skipway

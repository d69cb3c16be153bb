#include "bindings/bindings.h"
#include "ops/batch_norm.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "ops/local_response_norm.h"

namespace skipway::bindings {

SW_BINDINGS(norm) {
  function(
      m, "batch_norm", &batch_norm, "input"_a, "running_mean"_a, "running_var"_a, "weight"_a = py::none(),
      "bias"_a = py::none(), "training"_a = false, "momentum"_a = 0.1, "eps"_a = 1e-5, "residual"_a = py::none(),
      "activation"_a = py::none(),
      "act((x - mean) / sqrt(var + eps) * weight + bias + residual) per channel of (N, C, ...) (Ioffe & Szegedy "
      "2015).\n"
      "Training: mean and biased variance of the batch; running += momentum * (batch - running), with the unbiased\n"
      "variance, except of channels that are not finite. Else the running statistics. activation: None, \"relu\",\n"
      "\"leaky_relu\", \"relu6\" (in the same pass), \"gelu\", \"silu\", \"mish\" or \"hardswish\".\n"
      "ValueError on one value per channel in training.");
  function(m, "group_norm", &group_norm, "input"_a, "num_groups"_a, "weight"_a = py::none(), "bias"_a = py::none(),
           "eps"_a = 1e-5, "Normalises each sample's num_groups groups of channels of (N, C, ...) (Wu & He 2018).");
  function(m, "instance_norm", &instance_norm, "input"_a, "running_mean"_a = py::none(), "running_var"_a = py::none(),
           "weight"_a = py::none(), "bias"_a = py::none(), "use_input_stats"_a = true, "momentum"_a = 0.1,
           "eps"_a = 1e-5, "Normalises each channel of each sample of (N, C, spatial...) (Ulyanov et al. 2016).");
  function(m, "layer_norm", &layer_norm, "input"_a, "normalized_shape"_a, "weight"_a = py::none(),
           "bias"_a = py::none(), "eps"_a = 1e-5,
           "Normalises over the last dimensions, normalized_shape (Ba et al. 2016, eq. 4).");
  function(m, "rms_norm", &rms_norm, "input"_a, "normalized_shape"_a, "weight"_a = py::none(), "eps"_a = py::none(),
           "x / sqrt(mean(x^2) + eps) * weight over the last dimensions (Zhang & Sennrich 2019).\n"
           "eps: the machine epsilon of the type that computes, if None.");
  function(m, "local_response_norm", &local_response_norm, "input"_a, "size"_a, "alpha"_a = 1e-4, "beta"_a = 0.75,
           "k"_a = 1.0,
           "x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012, 3.3).");
}

}  // namespace skipway::bindings

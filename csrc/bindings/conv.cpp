#include "ops/conv.h"

#include <string>

#include "bindings/bindings.h"

namespace skipway::bindings {
namespace {

using Conv = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const Shape&, const Shape&, const Shape&, int64_t);
using ConvNamed = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const Shape&, const std::string&,
                             const Shape&, int64_t);

void bind_conv(py::module_& m, const char* name, Conv numbers, ConvNamed named) {
  const Shape one{1}, zero{0};
  constexpr const char* doc =
      "Cross-correlation: (N, C, ...) or (C, ...) with weight (K, C / groups, ...) and bias (K,) gives (N, K, ...) of "
      "size (in + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1. padding: numbers, \"valid\" (none) or "
      "\"same\" (the input's size; stride 1). ShapeError and ValueError name the argument that does not fit.";
  function(m, name, named, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = one, "padding"_a,
           "dilation"_a = one, "groups"_a = 1, doc);
  function(m, name, numbers, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = one, "padding"_a = zero,
           "dilation"_a = one, "groups"_a = 1, doc);
}

template <class F>
void bind_transpose(py::module_& m, const char* name, F f) {
  const Shape one{1}, zero{0};
  function(m, name, f, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = one, "padding"_a = zero,
           "output_padding"_a = zero, "groups"_a = 1, "dilation"_a = one,
           "The gradient of a convolution with respect to its input, as an op: (N, C, ...) with weight (C, K / groups, "
           "...) gives (N, K, ...) of size (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding "
           "+ 1 (Zeiler et al. 2010). ShapeError and ValueError name the argument that does not fit.");
}

}  // namespace

SW_BINDINGS(conv) {
  bind_conv(m, "conv1d", &conv1d, &conv1d);
  bind_conv(m, "conv2d", &conv2d, &conv2d);
  bind_conv(m, "conv3d", &conv3d, &conv3d);
  bind_transpose(m, "conv_transpose1d", &conv_transpose1d);
  bind_transpose(m, "conv_transpose2d", &conv_transpose2d);
  bind_transpose(m, "conv_transpose3d", &conv_transpose3d);
}

}  // namespace skipway::bindings

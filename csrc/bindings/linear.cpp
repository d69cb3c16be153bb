#include "ops/linear.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(linear) {
  function(
      m, "linear", &linear, "input"_a, "weight"_a, "bias"_a = Tensor(), "activation"_a = py::none(),
      "act(input @ weight.T + bias): (..., in) with weight (out, in) and bias (out,) gives (..., out). ShapeError\n"
      "where sizes differ. activation: None, \"relu\", \"leaky_relu\" or \"relu6\", which cost no pass of their own,\n"
      "\"gelu\", \"silu\", \"mish\" or \"hardswish\".");
}

}  // namespace skipway::bindings

#include "ops/residual.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(residual) {
  function(
      m, "residual_add", &residual_add, "x"_a, "branch"_a, "scale"_a = 1.0, "activation"_a = py::none(),
      "act(x + scale * branch) in one pass (He et al. 2016). x and branch have one shape and dtype; activation: None,\n"
      "\"relu\", \"leaky_relu\", \"relu6\" (in the same pass), \"gelu\", \"silu\", \"mish\" or \"hardswish\".");
}

}  // namespace skipway::bindings

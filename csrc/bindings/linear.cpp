#include "ops/linear.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(linear) {
  function(m, "linear", &linear, "input"_a, "weight"_a, "bias"_a = Tensor(),
           "input @ weight.T + bias: (..., in) with weight (out, in) and bias (out,) gives (..., out). ShapeError "
           "where sizes differ.");
}

}  // namespace skipway::bindings

#include "ops/linear.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(linear) { function(m, "linear", &linear, "input"_a, "weight"_a, "bias"_a = Tensor()); }

}  // namespace skipway::bindings

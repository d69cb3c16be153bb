#include "ops/concat.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(concat) {
  for (const char* name : {"cat", "concat", "concatenate"}) {
    function(m, name, &cat, "tensors"_a, "dim"_a = 0,
             "Tensors joined along a dimension that they have; their other sizes must be equal (ShapeError). The dtype "
             "is what they promote to.");
    function(m, name, &cat, "tensors"_a, "axis"_a);
  }
  function(m, "stack", &stack, "tensors"_a, "dim"_a = 0, "Tensors of one shape joined along a new dimension.");
  function(m, "stack", &stack, "tensors"_a, "axis"_a);
  function(m, "hstack", &hstack, "tensors"_a,
           "Tensors joined along the second dimension (1-D: the first), as numpy.hstack.");
  function(m, "vstack", &vstack, "tensors"_a, "Tensors joined along the first dimension, as numpy.vstack.");
  function(m, "row_stack", &vstack, "tensors"_a, "vstack.");
  function(m, "dstack", &dstack, "tensors"_a, "Tensors joined along the third dimension, as numpy.dstack.");
  function(
      m, "pad",
      [](const Tensor& x, const std::vector<int64_t>& amounts, const std::string& mode, std::optional<double> value) {
        return pad(x, amounts, mode, value.value_or(0));
      },
      "input"_a, "pad"_a, "mode"_a = "constant", "value"_a = py::none(),
      "pad = (before, after) of the last dimension, then of the one before it, ...; mode constant (negative amounts "
      "crop), reflect, replicate or circular.");
}

}  // namespace skipway::bindings

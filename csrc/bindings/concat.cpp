#include "ops/concat.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(concat) {
  for (const char* name : {"cat", "concat", "concatenate"}) {
    function(m, name, &cat, "tensors"_a, "dim"_a = 0);
    function(m, name, &cat, "tensors"_a, "axis"_a);
  }
  function(m, "stack", &stack, "tensors"_a, "dim"_a = 0);
  function(m, "stack", &stack, "tensors"_a, "axis"_a);
  function(m, "hstack", &hstack, "tensors"_a);
  function(m, "vstack", &vstack, "tensors"_a);
  function(m, "row_stack", &vstack, "tensors"_a);
  function(m, "dstack", &dstack, "tensors"_a);
  function(
      m, "pad",
      [](const Tensor& x, const std::vector<int64_t>& amounts, const std::string& mode, std::optional<double> value) {
        return pad(x, amounts, mode, value.value_or(0));
      },
      "input"_a, "pad"_a, "mode"_a = "constant", "value"_a = py::none());
}

}  // namespace skipway::bindings

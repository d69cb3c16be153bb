#include "ops/softmax.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

using Op = Tensor (*)(const Tensor&, std::optional<int64_t>, std::optional<DType>);

template <Op op>
Tensor with_stacklevel(const Tensor& input, std::optional<int64_t> dim, int64_t, std::optional<DType> dtype) {
  return op(input, dim, dtype);
}

SW_BINDINGS(softmax) {
  constexpr const char* soft = "exp(x) / sum(exp(x)) along dim, computed from x - max(x). dtype: of the result.";
  constexpr const char* log_soft =
      "log(softmax(x)) along dim, computed as (x - max) - log(sum(exp(x - max))). dtype: of the result.";
  function(m, "softmax", &with_stacklevel<&softmax>, "input"_a, "dim"_a = py::none(), "_stacklevel"_a = 3,
           "dtype"_a = py::none(), soft);
  function(m, "log_softmax", &with_stacklevel<&log_softmax>, "input"_a, "dim"_a = py::none(), "_stacklevel"_a = 3,
           "dtype"_a = py::none(), log_soft);
  function(m, "softmin", &with_stacklevel<&softmin>, "input"_a, "dim"_a = py::none(), "_stacklevel"_a = 3,
           "dtype"_a = py::none(), "softmax(-x) along dim.");
  method(m, "softmax", &softmax, "input"_a, "dim"_a, "dtype"_a = py::none(), soft);
  method(m, "log_softmax", &log_softmax, "input"_a, "dim"_a, "dtype"_a = py::none(), log_soft);
}

}  // namespace skipway::bindings

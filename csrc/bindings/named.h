// Pairs of tensors that Python sees as a named tuple: max(x, 1).values, max(x, 1).indices.
#pragma once
#include <utility>

#include "bindings/bindings.h"

namespace skipway::bindings {

struct NamedPair {
  const char *name, *first_name, *second_name;
  Tensor first, second;
};
inline NamedPair values_indices(const char* name, const std::pair<Tensor, Tensor>& p) {
  return {name, "values", "indices", p.first, p.second};
}
py::object make_named_pair(const NamedPair& pair);  // reduce.cpp

}  // namespace skipway::bindings

namespace pybind11::detail {
template <>
struct type_caster<skipway::bindings::NamedPair> {
  PYBIND11_TYPE_CASTER(skipway::bindings::NamedPair, const_name("tuple[Tensor, Tensor]"));
  bool load(handle, bool) { return false; }
  static handle cast(const skipway::bindings::NamedPair& p, return_value_policy, handle) {
    return skipway::bindings::make_named_pair(p).release();
  }
};
}  // namespace pybind11::detail

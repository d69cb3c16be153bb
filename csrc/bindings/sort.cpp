#include "ops/sort.h"

#include "bindings/bindings.h"
#include "bindings/named.h"

namespace skipway::bindings {
namespace {

py::object unique_any(const Tensor& x, bool, bool return_inverse, bool return_counts, const py::object& dim) {
  SW_CHECK_VALUE(dim.is_none(), "unique: dim is not supported, the tensor is flattened");
  const Unique u = unique(x);
  if (!return_inverse && !return_counts) return py::cast(u.values);
  py::list out;
  out.append(u.values);
  if (return_inverse) out.append(u.inverse);
  if (return_counts) out.append(u.counts);
  return py::tuple(out);
}

}  // namespace

SW_BINDINGS(sort) {
  // Sorting is always stable, and topk always sorted: the flags are taken for compatibility.
  both(
      m, "sort",
      [](const Tensor& x, int64_t dim, bool descending, bool) {
        return values_indices("sort", sort(x, dim, descending));
      },
      "input"_a, "dim"_a = -1, "descending"_a = false, "stable"_a = true,
      "(values, indices) in order along dim; stable, NaN counts as the largest.");
  both(
      m, "argsort", [](const Tensor& x, int64_t dim, bool descending, bool) { return argsort(x, dim, descending); },
      "input"_a, "dim"_a = -1, "descending"_a = false, "stable"_a = true,
      "Positions of the elements in order along dim; stable, NaN counts as the largest.");
  both(
      m, "topk",
      [](const Tensor& x, int64_t k, int64_t dim, bool largest, bool) {
        return values_indices("topk", topk(x, k, dim, largest));
      },
      "input"_a, "k"_a, "dim"_a = -1, "largest"_a = true, "sorted"_a = true,
      "(values, indices) of the k largest (smallest) along dim, in order; the earlier of equal ones first.");
  both(
      m, "kthvalue",
      [](const Tensor& x, int64_t k, int64_t dim, bool keepdim) {
        return values_indices("kthvalue", kthvalue(x, k, dim, keepdim));
      },
      "input"_a, "k"_a, "dim"_a = -1, "keepdim"_a = false,
      "(values, indices) of the k-th smallest along dim, k from 1.");
  m.def("unique", &unique_any, "input"_a, "sorted"_a = true, "return_inverse"_a = false, "return_counts"_a = false,
        "dim"_a = py::none(),
        "The different values, sorted; with the index of each element's value and how often it occurs.");
  add_method("unique", m.attr("unique"));
}

}  // namespace skipway::bindings

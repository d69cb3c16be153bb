#include "ops/sort.h"

#include "bindings/bindings.h"
#include "bindings/named.h"

namespace skipway::bindings {

SW_BINDINGS(sort) {
  // Sorting is always stable, and topk always sorted: the flags are taken for compatibility.
  both(
      m, "sort",
      [](const Tensor& x, int64_t dim, bool descending, bool) {
        return values_indices("sort", sort(x, dim, descending));
      },
      "input"_a, "dim"_a = -1, "descending"_a = false, "stable"_a = true);
  both(
      m, "argsort", [](const Tensor& x, int64_t dim, bool descending, bool) { return argsort(x, dim, descending); },
      "input"_a, "dim"_a = -1, "descending"_a = false, "stable"_a = true);
  both(
      m, "topk",
      [](const Tensor& x, int64_t k, int64_t dim, bool largest, bool) {
        return values_indices("topk", topk(x, k, dim, largest));
      },
      "input"_a, "k"_a, "dim"_a = -1, "largest"_a = true, "sorted"_a = true);
  both(
      m, "kthvalue",
      [](const Tensor& x, int64_t k, int64_t dim, bool keepdim) {
        return values_indices("kthvalue", kthvalue(x, k, dim, keepdim));
      },
      "input"_a, "k"_a, "dim"_a = -1, "keepdim"_a = false);
}

}  // namespace skipway::bindings

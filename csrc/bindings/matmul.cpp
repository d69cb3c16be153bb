#include "ops/matmul.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(matmul) {
  both(m, "matmul", &matmul, "input"_a, "other"_a);
  both(m, "mm", &mm, "input"_a, "mat2"_a);
  both(m, "bmm", &bmm, "input"_a, "mat2"_a);
  both(m, "mv", &mv, "input"_a, "vec"_a);
  both(m, "dot", &dot, "input"_a, "tensor"_a);
  both(m, "vdot", &dot, "input"_a, "other"_a);
  both(m, "outer", &outer, "input"_a, "vec2"_a);
  both(m, "ger", &outer, "input"_a, "vec2"_a);
  both(m, "addmm", &addmm, "input"_a, "mat1"_a, "mat2"_a, py::kw_only(), "beta"_a = 1.0, "alpha"_a = 1.0);
  both(m, "addmv", &addmv, "input"_a, "mat"_a, "vec"_a, py::kw_only(), "beta"_a = 1.0, "alpha"_a = 1.0);
  both(m, "baddbmm", &baddbmm, "input"_a, "batch1"_a, "batch2"_a, py::kw_only(), "beta"_a = 1.0, "alpha"_a = 1.0);
  method(m, "__matmul__", &matmul, py::is_operator());
}

}  // namespace skipway::bindings

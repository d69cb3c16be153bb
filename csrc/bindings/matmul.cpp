#include "ops/matmul.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(matmul) {
  m.def("_set_matmul_tf32", &set_matmul_tf32, "allowed"_a);
  m.def("_matmul_tf32", &matmul_tf32);
  both(m, "matmul", &matmul, "input"_a, "other"_a,
       "The matrix product over the last two dimensions; leading ones are broadcast, a 1-D operand is a row or a "
       "column.");
  both(m, "mm", &mm, "input"_a, "mat2"_a, "(n, k) @ (k, m): the matrix product of two matrices.");
  both(m, "bmm", &bmm, "input"_a, "mat2"_a, "(b, n, k) @ (b, k, m): a matrix product for each of b pairs.");
  both(m, "mv", &mv, "input"_a, "vec"_a, "(n, k) @ (k,): a matrix times a vector.");
  both(m, "dot", &dot, "input"_a, "tensor"_a, "The sum of the products of two vectors of one length.");
  both(m, "vdot", &dot, "input"_a, "other"_a, "The sum of the products of two vectors of one length.");
  both(m, "outer", &outer, "input"_a, "vec2"_a, "(n,) and (m,) give (n, m): all products of two vectors' elements.");
  both(m, "ger", &outer, "input"_a, "vec2"_a, "The same as outer.");
  both(m, "addmm", &addmm, "input"_a, "mat1"_a, "mat2"_a, py::kw_only(), "beta"_a = 1.0, "alpha"_a = 1.0,
       "beta * input + alpha * (mat1 @ mat2); input is broadcast.");
  both(m, "addmv", &addmv, "input"_a, "mat"_a, "vec"_a, py::kw_only(), "beta"_a = 1.0, "alpha"_a = 1.0,
       "beta * input + alpha * (mat @ vec); input is broadcast.");
  both(m, "baddbmm", &baddbmm, "input"_a, "batch1"_a, "batch2"_a, py::kw_only(), "beta"_a = 1.0, "alpha"_a = 1.0,
       "beta * input + alpha * (batch1 @ batch2), batch by batch; input is broadcast.");
  method(m, "__matmul__", &matmul, py::is_operator());
}

}  // namespace skipway::bindings

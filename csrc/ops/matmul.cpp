#include "ops/matmul.h"

#include <atomic>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"

namespace skipway {
namespace {

std::atomic<bool> tf32_allowed{false};

Tensor transposed(const Tensor& x) {
  Shape shape = x.shape(), strides = x.strides();
  const int n = x.dim();
  std::swap(shape[n - 1], shape[n - 2]);
  std::swap(strides[n - 1], strides[n - 2]);
  return x.as_strided(shape, strides, x.offset());
}

Tensor reshaped(const Tensor& x, const Shape& shape) {
  const Tensor dense = contiguous(x.alias());
  return dense.as_strided(shape, contiguous_strides(shape), dense.offset());
}

Tensor with_unit_dim(const Tensor& x, int at) {
  Shape shape = x.shape(), strides = x.strides();
  shape.insert(at, 1);
  strides.insert(at, 1);
  return x.as_strided(shape, strides, x.offset());
}

Shape batch_of(const Tensor& x) { return Shape(x.shape().data(), x.dim() - 2); }

void check_dims(const char* op, const char* arg, const Tensor& t, int dims) {
  check_defined(op, arg, t);
  SW_CHECK_SHAPE(t.dim() == dims, op, ": expected ", arg, " with ", dims, dims == 1 ? " dimension" : " dimensions",
                 ", got ", t.shape());
}

// As multiply() sees them: a (..., m, k), b (..., k, n).
struct Operands {
  Tensor a, b;
};
Operands as_matrices(const Tensor& a, const Tensor& b) {
  Operands m{a.alias(), b.alias()};
  if (a.dim() == 1) m.a = with_unit_dim(m.a, 0);
  if (b.dim() == 1) m.b = with_unit_dim(m.b, 1);
  // One matrix on the right: the batch on the left is just more rows.
  if (m.b.dim() == 2 && m.a.dim() > 2) {
    const int64_t k = m.a.shape().back();
    int64_t rows = 1;
    for (int i = 0; i + 1 < m.a.dim(); ++i) rows *= m.a.shape()[i];
    m.a = reshaped(m.a, Shape{rows, k});
  }
  return m;
}

// a b, summed over the batch dimensions in which the result is larger than `shape`; bfloat16 terms stay in float32.
Tensor summed_product(const char* op, const Tensor& a, const Tensor& b, const Shape& shape) {
  const Shape batch(shape.data(), shape.size() - 2);
  if (broadcast_shapes(batch_of(a), batch_of(b), op) == batch) return matrix_product(op, a, b);
  const DType wide = accumulate_dtype(a.dtype());
  return to(sum_to(matrix_product(op, to(a, wide), to(b, wide)), shape), a.dtype());
}

Tensor multiply(const char* op, const Tensor& a, const Tensor& b) {
  check_defined(op, "input", a);
  check_defined(op, "other", b);
  check_same(op, "input", a, "other", b);
  SW_CHECK_SHAPE(a.dim() >= 1 && b.dim() >= 1, op, ": expected operands with at least one dimension, got ", a.shape(),
                 " and ", b.shape());
  const int64_t inner = b.shape()[b.dim() == 1 ? 0 : b.dim() - 2];
  SW_CHECK_SHAPE(a.shape().back() == inner, op, ": expected other with ", a.shape().back(),
                 " rows, as many as input has columns, got ", a.shape(), " and ", b.shape());
  const Operands m = as_matrices(a, b);
  const Tensor c = matrix_product(op, m.a, m.b);
  Shape shape = a.dim() > 2 && m.a.dim() == 2 ? Shape(a.shape().data(), a.dim() - 2) : batch_of(c);
  if (a.dim() > 1) shape.push_back(a.shape()[a.dim() - 2]);
  if (b.dim() > 1) shape.push_back(b.shape().back());
  const Tensor result = c.as_strided(shape, contiguous_strides(shape), 0);
  const Shape c_shape = c.shape(), a_shape = a.shape(), b_shape = b.shape();
  // docs/backward.md, equation (matmul).
  tape::record(op, {result}, {a, b}, {m.a, m.b}, [=](tape::Backward& g) {
    const Tensor dc = reshaped(g.grad(), c_shape), a = g.saved(0), b = g.saved(1);
    if (g.needs(0)) g.give(0, reshaped(summed_product(op, dc, transposed(b), a.shape()), a_shape));
    if (g.needs(1)) g.give(1, reshaped(summed_product(op, transposed(a), dc, b.shape()), b_shape));
  });
  return result;
}

// beta input + alpha a b; of 16-bit types in float32, so that it is rounded once.
Tensor multiply_add(const char* op, const Tensor& input, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_defined(op, "input", input);
  check_same(op, "input", a, "other", b);
  if (is_half(a.dtype())) {
    const auto wide = [](const Tensor& t) { return is_half(t.dtype()) ? to(t, DType::Float32) : t; };
    return to(multiply_add(op, wide(input), wide(a), wide(b), beta, alpha), a.dtype());
  }
  const Tensor product = multiply(op, a, b);
  const Tensor scaled = alpha == 1 ? product : mul(product, number(alpha, DType::Float64));
  if (beta == 0) return scaled;  // NaN in input does not matter then
  return add(beta == 1 ? input : mul(input, number(beta, DType::Float64)), scaled);
}

}  // namespace

void set_matmul_tf32(bool allowed) { tf32_allowed = allowed; }
bool matmul_tf32() { return tf32_allowed; }

Tensor matrix_product(const char* op, const Tensor& a, const Tensor& b, const Tensor& bias, FusedAct activation) {
  SW_CHECK_TYPE(a.dtype() != DType::Bool, op, ": expected numbers, got ", a.dtype());
  const Shape batch = broadcast_shapes(batch_of(a), batch_of(b), op);
  GemmArgs g{};
  g.dtype = a.dtype();
  g.m = a.shape()[a.dim() - 2], g.k = a.shape().back(), g.n = b.shape().back();
  for (int i = 0; i < 2; ++i) {
    g.a_strides[i] = a.strides()[a.dim() - 2 + i];
    g.b_strides[i] = b.strides()[b.dim() - 2 + i];
  }
  g.batch_ndim = batch.size();
  Shape shape = batch;
  for (int i = 0; i < batch.size(); ++i) {
    g.batch[i] = batch[i];
    const int ia = i - batch.size() + a.dim() - 2, ib = i - batch.size() + b.dim() - 2;
    g.a_batch[i] = ia >= 0 && a.shape()[ia] != 1 ? a.strides()[ia] : 0;
    g.b_batch[i] = ib >= 0 && b.shape()[ib] != 1 ? b.strides()[ib] : 0;
  }
  shape.push_back(g.m);
  shape.push_back(g.n);
  const Tensor c = empty(shape, a.dtype(), a.device());
  g.a = a.data(), g.b = b.data(), g.c = c.data();
  g.bias = bias.defined() ? bias.data() : nullptr;
  g.activation = activation;
  g.tf32 = g.dtype == DType::Float32 && matmul_tf32();
  launch(a.device(), gemm, g);
  return c;
}

Tensor matmul(const Tensor& input, const Tensor& other) { return multiply("matmul", input, other); }

Tensor mm(const Tensor& input, const Tensor& mat2) {
  check_dims("mm", "input", input, 2);
  check_dims("mm", "mat2", mat2, 2);
  return multiply("mm", input, mat2);
}

Tensor bmm(const Tensor& input, const Tensor& mat2) {
  check_dims("bmm", "input", input, 3);
  check_dims("bmm", "mat2", mat2, 3);
  SW_CHECK_SHAPE(input.shape()[0] == mat2.shape()[0], "bmm: expected input and mat2 with the same batch size, got ",
                 input.shape(), " and ", mat2.shape());
  return multiply("bmm", input, mat2);
}

Tensor mv(const Tensor& input, const Tensor& vec) {
  check_dims("mv", "input", input, 2);
  check_dims("mv", "vec", vec, 1);
  return multiply("mv", input, vec);
}

Tensor dot(const Tensor& input, const Tensor& tensor) {
  check_dims("dot", "input", input, 1);
  check_dims("dot", "tensor", tensor, 1);
  return multiply("dot", input, tensor);
}

Tensor outer(const Tensor& input, const Tensor& vec2) {
  check_dims("outer", "input", input, 1);
  check_dims("outer", "vec2", vec2, 1);
  return mul(tape::view("outer", input, {input.shape()[0], 1}, {input.strides()[0], 1}, input.offset(),
                        [shape = input.shape()](tape::Backward& g) { g.give(0, reshaped(g.grad(), shape)); }),
             vec2);
}

Tensor addmm(const Tensor& input, const Tensor& mat1, const Tensor& mat2, double beta, double alpha) {
  check_dims("addmm", "mat1", mat1, 2);
  check_dims("addmm", "mat2", mat2, 2);
  return multiply_add("addmm", input, mat1, mat2, beta, alpha);
}

Tensor addmv(const Tensor& input, const Tensor& mat, const Tensor& vec, double beta, double alpha) {
  check_dims("addmv", "mat", mat, 2);
  check_dims("addmv", "vec", vec, 1);
  return multiply_add("addmv", input, mat, vec, beta, alpha);
}

Tensor baddbmm(const Tensor& input, const Tensor& batch1, const Tensor& batch2, double beta, double alpha) {
  check_dims("baddbmm", "batch1", batch1, 3);
  check_dims("baddbmm", "batch2", batch2, 3);
  SW_CHECK_SHAPE(batch1.shape()[0] == batch2.shape()[0],
                 "baddbmm: expected batch1 and batch2 with the same batch size, got ", batch1.shape(), " and ",
                 batch2.shape());
  return multiply_add("baddbmm", input, batch1, batch2, beta, alpha);
}

}  // namespace skipway

// Products of matrices, vectors, and batches of them:   c[i][j] = sum_k a[i][k] * b[k][j]
// With dc the gradient of c:   da = dc b^T,   db = a^T dc,   summed over the batch dimensions that were broadcast.
// Integers multiply too (modulo 2^bits); only floating types have gradients.
#pragma once
#include "core/tensor.h"
#include "kernels/dispatch.h"
#include "kernels/fused_args.h"

namespace skipway {

// As NumPy's: a 1-D operand is a row (left) or a column (right) whose dimension is then dropped, and dimensions before
// the last two broadcast.
Tensor matmul(const Tensor& input, const Tensor& other);
Tensor mm(const Tensor& input, const Tensor& mat2);     // (n, m) (m, p)
Tensor bmm(const Tensor& input, const Tensor& mat2);    // (b, n, m) (b, m, p)
Tensor mv(const Tensor& input, const Tensor& vec);      // (n, m) (m)
Tensor dot(const Tensor& input, const Tensor& tensor);  // (n) (n)
Tensor outer(const Tensor& input, const Tensor& vec2);  // (n) (m) -> (n, m)
// beta * input + alpha * product
Tensor addmm(const Tensor& input, const Tensor& mat1, const Tensor& mat2, double beta, double alpha);
Tensor addmv(const Tensor& input, const Tensor& mat, const Tensor& vec, double beta, double alpha);
Tensor baddbmm(const Tensor& input, const Tensor& batch1, const Tensor& batch2, double beta, double alpha);

// The product without a tape, for ops built on it: a (..., m, k), b (..., k, n) with any strides, batch dimensions that
// broadcast, and a bias of n elements or none; act(a b + bias). The result is row-major.
Tensor matrix_product(const char* op, const Tensor& a, const Tensor& b, const Tensor& bias = {},
                      FusedAct activation = FusedAct::None);

// May float32 products on CUDA devices round their operands to tf32 (10 bits of fraction)? Not unless asked for.
void set_matmul_tf32(bool allowed);
bool matmul_tf32();

struct GemmArgs {
  int64_t m, n, k;
  DType dtype;
  int64_t a_strides[2], b_strides[2];  // of (m, k) and (k, n)
  int batch_ndim;
  int64_t batch[kMaxDims], a_batch[kMaxDims], b_batch[kMaxDims];  // sizes, and strides of the operands
  const void *a, *b, *bias;                                       // bias: n elements, or null
  void* c;                                                        // dense (batch..., m, n)
  FusedAct activation;                                            // of floating products: c = act(a b + bias)
  bool tf32;  // cuBLASLt may round float32 so; no kernel of our own does
};
SW_DECLARE_KERNEL(gemm, GemmArgs)

}  // namespace skipway

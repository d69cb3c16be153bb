#include "ops/softmax.h"

#include "autograd/tape.h"
#include "ops/copy.h"

namespace skipway {
namespace {

struct Geometry {
  int64_t outer = 1, n = 1, inner = 1;
};

Tensor apply(const char* op, bool log, double sign, const Tensor& input, std::optional<int64_t> dim,
             std::optional<DType> dtype) {
  check_defined(op, "input", input);
  if (dtype && *dtype != input.dtype()) {
    SW_CHECK_TYPE(is_floating(*dtype), op, ": expected a floating dtype, got ", *dtype);
    return apply(op, log, sign, to(input, *dtype), dim, {});
  }
  check_floating(op, "input", input);
  // The gradient of 16 bits needs more digits of the result than are stored: exp(y) of a log of -10 would be 2 % off.
  const bool widen = is_half(input.dtype()) && tape::should_record({input}), keep = widen && input.device().is_cpu();
  if (widen && !keep) return to(apply(op, log, sign, to(input, DType::Float32), dim, {}), input.dtype());
  const int ndim = input.dim();
  const int64_t asked = dim ? *dim : (ndim == 0 || ndim == 1 || ndim == 3) ? 0 : 1;
  const int d = normalize_dim(asked, ndim > 0 ? ndim : 1, op);
  Tensor x;
  {
    tape::NoGradGuard off;
    x = contiguous(input);
  }
  Geometry g;
  for (int i = 0; i < ndim; ++i) (i < d ? g.outer : i == d ? g.n : g.inner) *= x.size(i);
  Tensor y = empty(x.shape(), x.dtype(), x.device());
  const Tensor wide = keep ? empty(x.shape(), DType::Float32, x.device()) : Tensor();
  launch(x.device(), softmax_forward,
         SoftmaxArgs{g.outer, g.n, g.inner, x.dtype(), log, sign, x.data(), y.data(),
                     keep ? wide.data_as<float>() : nullptr});
  // docs/backward.md, equation (softmax).
  tape::record(op, {y}, {input}, {keep ? wide : y}, [g, log, sign](tape::Backward& b) {
    const Tensor y = b.saved(0), dy = contiguous(b.grad());
    launch(dy.device(), softmax_backward,
           SoftmaxGradArgs{g.outer, g.n, g.inner, dy.dtype(), log, sign, y.data(), dy.data(), b.target(0, dy)});
  });
  return y;
}

}  // namespace

Tensor softmax(const Tensor& input, std::optional<int64_t> dim, std::optional<DType> dtype) {
  return apply("softmax", false, 1, input, dim, dtype);
}
Tensor log_softmax(const Tensor& input, std::optional<int64_t> dim, std::optional<DType> dtype) {
  return apply("log_softmax", true, 1, input, dim, dtype);
}
Tensor softmin(const Tensor& input, std::optional<int64_t> dim, std::optional<DType> dtype) {
  return apply("softmin", false, -1, input, dim, dtype);
}

}  // namespace skipway

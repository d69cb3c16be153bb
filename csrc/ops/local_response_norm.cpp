#include "ops/local_response_norm.h"

#include "autograd/tape.h"
#include "ops/copy.h"

namespace skipway {

Tensor local_response_norm(const Tensor& input, int64_t size, double alpha, double beta, double k) {
  const char* op = "local_response_norm";
  check_defined(op, "input", input);
  check_floating(op, "input", input);
  SW_CHECK_SHAPE(input.dim() >= 3 && input.dim() <= 5, op,
                 ": expected input (N, C, d1, ...) of 3 to 5 dimensions, got ", input.shape());
  SW_CHECK_VALUE(size > 0, op, ": expected size > 0, got ", size);
  Tensor x;
  {
    tape::NoGradGuard off;
    x = channels_last(input);
  }
  const int64_t channels = x.size(1);
  LocalResponseArgs a{channels > 0 ? x.numel() / channels : 0,
                      channels,
                      size,
                      x.dtype(),
                      alpha,
                      beta,
                      k,
                      x.data(),
                      nullptr,
                      nullptr,
                      {}};
  Tensor y = empty_channels_last(x.shape(), x.dtype(), x.device());
  a.y = y.data();
  launch(x.device(), local_response_forward, a);
  // docs/backward.md, equation (lrn).
  tape::record(op, {y}, {input}, {x}, [a](tape::Backward& b) {
    const Tensor x = b.saved(0), dy = channels_last(b.grad());
    LocalResponseArgs g = a;
    g.x = x.data();
    g.y = nullptr;
    g.dy = dy.data();
    g.dx = b.target(0, x);
    launch(x.device(), local_response_backward, g);
  });
  return y;
}

}  // namespace skipway

#include "ops/residual.h"

#include "autograd/tape.h"
#include "ops/batch_norm.h"
#include "ops/copy.h"
#include "ops/deferred_norm.h"

namespace skipway {

Tensor in_layout_of(const Tensor& t, const Tensor& like) {
  if (t.strides() == like.strides()) return t;
  Tensor copy = empty_like(like);
  copy_into(copy, t);
  return copy;
}

namespace {

// Where x or branch is a norm's deferred result: it goes on waiting. Undefined elsewhere.
Tensor after_norm(const Tensor& x, const Tensor& branch, FusedAct act) {
  if (act == FusedAct::LeakyRelu) return {};
  Tensor y = deferred_sum(x, branch, {});
  if (y.defined() && act != FusedAct::None) y = deferred_activation(y, act, {});
  if (!y.defined()) return y;
  tape::record("residual_add", {y}, {x, branch}, {act == FusedAct::None ? Tensor() : y}, [act](tape::Backward& b) {
    const Tensor dz = act == FusedAct::None ? b.grad() : deferred_mask(b.grad(), b.saved(0), act, {});
    b.give(0, dz);
    b.give(1, dz);
  });
  return y;
}

}  // namespace

Tensor residual_add(const Tensor& x, const Tensor& branch, double scale, const std::optional<std::string>& activation) {
  check_defined("residual_add", "x", x);
  check_defined("residual_add", "branch", branch);
  check_floating("residual_add", "x", x);
  check_same("residual_add", "x", x, "branch", branch);
  SW_CHECK_SHAPE(x.shape() == branch.shape(), "residual_add: expected x and branch of one shape, got ", x.shape(),
                 " and ", branch.shape());
  const OutputActivation named = parse_output_activation("residual_add", activation);
  const FusedAct act = named.fused;
  if (const Tensor y = scale == 1 ? after_norm(x, branch, act) : Tensor(); y.defined()) return named.finish(y);
  Tensor in = x, other = branch;
  {
    tape::NoGradGuard off;
    if (!in.is_dense()) in = other.is_dense() ? in_layout_of(in, other) : contiguous(in);
    other = in_layout_of(other, in);
  }
  Tensor y = empty_like(in);
  launch(x.device(), residual_add_forward,
         ResidualAddArgs{x.numel(), x.dtype(), act, scale, in.data(), other.data(), y.data()});

  tape::record(
      "residual_add", {y}, {x, branch}, {act == FusedAct::None ? Tensor() : y}, [act, scale](tape::Backward& b) {
        if (act == FusedAct::None && scale == 1) {
          b.give(0, b.grad());
          b.give(1, b.grad());
          return;
        }
        const Tensor y = b.saved(0);
        const Tensor dy = y.defined()           ? in_layout_of(b.grad(), y)
                          : b.grad().is_dense() ? b.grad()
                                                : contiguous(b.grad());
        ResidualAddGradArgs a{dy.numel(), dy.dtype(), act, scale, dy.data(), y.defined() ? y.data() : nullptr, {}, {}};
        if (scale == 1) {  // both gradients are one tensor: written once
          Tensor dz = b.own_grad();
          if (!dz.defined() || dz.strides() != dy.strides()) dz = empty_like(dy);
          a.dx = {dz.data(), GradMode::Write};
          launch(dy.device(), residual_add_backward, a);
          b.give(0, dz);
          b.give(1, dz);
          return;
        }
        if (act == FusedAct::None) {
          b.give(0, b.grad());
        } else {
          a.dx = b.target(0, dy);
        }
        a.dbranch = b.target(1, dy);
        launch(dy.device(), residual_add_backward, a);
      });
  return named.finish(y);
}

}  // namespace skipway

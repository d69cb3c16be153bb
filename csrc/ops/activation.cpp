#include "ops/activation.h"

#include "ops/deferred_norm.h"
#include "ops/elementwise_detail.h"

namespace skipway {
namespace {

void check_input(const char* name, const Tensor& x) {
  check_defined(name, "input", x);
  check_floating(name, "input", x);
}

void run(Activation f, const ActivationParams& params, const Tensor& x, const Tensor& y) {
  if (y.numel() == 0) return;
  const ElementLoop loop(y);
  launch(y.device(), activation_forward,
         ActivationArgs{f, params, compute_dtype(x.dtype()), loop.numel(), loop.walk(y), loop.walk(x)});
}

// dx (a tensor, or memory laid out as `layout`) from dy and what was saved.
void run_grad(Activation f, const ActivationParams& params, const Tensor& layout, void* dx, GradMode mode,
              const Tensor& dy, const Tensor& saved) {
  if (layout.numel() == 0) return;
  const ElementLoop loop(layout);
  ActivationGradArgs args{
      f, params, compute_dtype(saved.dtype()), loop.numel(), loop.walk(layout), loop.walk(dy), loop.walk(saved), mode};
  args.dx.data = dx;
  launch(dy.device(), activation_backward, args);
}

void backward(Activation f, const ActivationParams& params, tape::Backward& b) {
  const Tensor saved = b.saved(0);
  const Tensor own = b.own_grad();  // nobody else holds it: overwritten, and given on
  if (own.defined() && b.needs(0) && saved.is_dense() && own.strides() == saved.strides() &&
      own.dtype() == saved.dtype() && b.sum_dtype(0) == own.dtype()) {
    run_grad(f, params, saved, own.data(), GradMode::Write, own, saved);
    b.give(0, own);
    return;
  }
  if (saved.is_dense()) {
    const Grad dx = b.target(0, saved);
    if (dx.mode != GradMode::Skip) run_grad(f, params, saved, dx.data, dx.mode, b.grad(), saved);
    return;
  }
  const Tensor dx = empty_like(saved);
  run_grad(f, params, dx, dx.data(), GradMode::Write, b.grad(), saved);
  b.give(0, dx);
}

// Hardtanh's backward finds its bounds again in the output: they have to be numbers that its dtype can hold.
ActivationParams stored(Activation f, ActivationParams params, DType dtype) {
  if (f == Activation::Hardtanh && is_half(dtype)) {
    const auto rounded = [&](double v) {
      return dtype == DType::Float16 ? float(float16(float(v))) : float(bfloat16(float(v)));
    };
    params.a = rounded(params.a);
    params.b = rounded(params.b);
  }
  return params;
}

// act(x) as a longer recipe where x is a norm's deferred result; undefined elsewhere.
Tensor after_norm(const char* name, Activation f, const ActivationParams& params, const Tensor& x, const Tensor& out) {
  const std::optional<FusedAct> act = as_fused(f, params);
  const auto norm = act ? norm_recipe(x) : nullptr;
  if (!norm) return {};
  const Tensor y = deferred_activation(x, *act, out);
  if (!y.defined()) return y;
  // relu's mask comes from the norm's input again, where there is no residual.
  const bool from_x = *act == FusedAct::Relu && !norm->residual.defined();
  tape::record(name, {y}, {x}, {y, from_x ? norm->coefficients : Tensor()}, [act = *act](tape::Backward& b) {
    if (b.needs(0)) b.give(0, deferred_mask(b.grad(), b.saved(0), act, b.saved(1)));
  });
  return y;
}

// Into `out` where it is defined (then x's memory), else into a new tensor.
Tensor activation_into(const char* name, Activation f, const ActivationParams& params, const Tensor& x,
                       const Tensor& out) {
  if (const Tensor y = after_norm(name, f, params, x, out); y.defined()) return y;
  const bool recording = tape::should_record({x});
  const bool save_output = activation_saves_output(f, params);
  const Tensor input = elementwise::keep(x, recording && !save_output, out);
  const Tensor y = out.defined() ? out : elementwise_output(x.shape(), x.dtype(), {x});
  run(f, params, x, y);
  tape::record(name, {y}, {x}, {save_output ? y : input}, [f, params](tape::Backward& b) { backward(f, params, b); });
  return y;
}

// The same memory, one part of it along dim.
Tensor part_of(const Tensor& x, int dim, int64_t start, int64_t size, int64_t step = 1) {
  Shape shape = x.shape(), strides = x.strides();
  shape[dim] = size;
  strides[dim] *= step;
  return x.as_strided(shape, strides, x.offset() + start * x.strides()[dim]);
}

}  // namespace

Tensor activation(const char* name, Activation f, const ActivationParams& params, const Tensor& x) {
  check_input(name, x);
  return activation_into(name, f, stored(f, params, x.dtype()), x, {});
}

Tensor activation_(const char* name, Activation f, const ActivationParams& params, const Tensor& x) {
  check_input(name, x);
  return elementwise::in_place(
      name, x, x.dtype(), [&](const Tensor& out) { activation_into(name, f, stored(f, params, x.dtype()), x, out); });
}

// relu of integers is max(x, 0) too.
Tensor relu(const Tensor& x) {
  check_defined("relu", "input", x);
  if (!is_floating(x.dtype())) return maximum(x, number(0, DType::Int64));
  return activation("relu", Activation::Relu, {}, x);
}
Tensor relu_(const Tensor& x) {
  check_defined("relu_", "input", x);
  if (!is_floating(x.dtype())) return clamp_(x, number(0, DType::Int64), {});
  return activation_("relu_", Activation::Relu, {}, x);
}
Tensor sigmoid(const Tensor& x) { return unary(UnaryOp::Sigmoid, x); }
Tensor tanh(const Tensor& x) { return unary(UnaryOp::Tanh, x); }
Tensor leaky_relu(const Tensor& x, double negative_slope) {
  return activation("leaky_relu", Activation::LeakyRelu, {negative_slope}, x);
}

bool parse_activation(const std::string& name, Activation& f, ActivationParams& params) {
  const struct {
    const char* name;
    Activation f;
    ActivationParams params;
  } known[] = {{"identity", Activation::Identity, {}},
               {"relu", Activation::Relu, {}},
               {"leaky_relu", Activation::LeakyRelu, {0.01}},
               {"gelu", Activation::Gelu, {}},
               {"silu", Activation::Silu, {}},
               {"mish", Activation::Mish, {}},
               {"relu6", Activation::Hardtanh, {0, 6}},
               {"hardswish", Activation::Hardswish, {}}};
  for (const auto& k : known) {
    if (name != k.name) continue;
    f = k.f;
    params = k.params;
    return true;
  }
  return false;
}

namespace {

// weight seen so that it broadcasts along dimension 1 of x.
Tensor channel_weight(const Tensor& x, const Tensor& weight) {
  if (weight.numel() == 1) return weight.as_strided({}, {}, weight.offset());
  Shape shape = Shape::filled(x.dim(), 1), strides = Shape::filled(x.dim(), 1);
  shape[1] = weight.numel();
  strides[1] = weight.strides()[0];
  return weight.as_strided(shape, strides, weight.offset());
}

Tensor run_prelu(PreluPass pass, const Tensor& g, const Tensor& x, const Tensor& weight, DType result) {
  const Tensor out = elementwise_output(x.shape(), result, {x});
  if (out.numel() == 0) return out;
  const ElementLoop loop(out);
  launch(x.device(), activation_prelu,
         PreluArgs{pass, compute_dtype(x.dtype()), loop.numel(), loop.walk(out), loop.walk(g), loop.walk(x),
                   loop.walk(weight)});
  return out;
}

}  // namespace

Tensor prelu(const Tensor& x, const Tensor& weight) {
  check_input("prelu", x);
  check_defined("prelu", "weight", weight);
  check_same("prelu", "weight", weight, "input", x);
  const int64_t channels = x.dim() > 1 ? x.shape()[1] : 1;
  SW_CHECK_SHAPE(weight.dim() <= 1 && (weight.numel() == 1 || weight.numel() == channels),
                 "prelu: expected weight of 1 or ", channels, " elements (the channels of input ", x.shape(), "), got ",
                 weight.shape());
  const Tensor y = run_prelu(PreluPass::Forward, x, x, channel_weight(x, weight), x.dtype());
  tape::record("prelu", {y}, {x, weight}, {x, weight}, [](tape::Backward& b) {
    const Tensor x = b.saved(0), weight = b.saved(1), w = channel_weight(x, weight);
    if (b.needs(0)) b.give(0, run_prelu(PreluPass::GradInput, b.grad(), x, w, x.dtype()));
    if (b.needs(1)) {
      const Tensor terms = run_prelu(PreluPass::GradWeight, b.grad(), x, w, accumulate_dtype(x.dtype()));
      const Tensor dw = contiguous(to(sum_to(terms, w.shape()), weight.dtype()));
      b.give(1, dw.as_strided(weight.shape(), contiguous_strides(weight.shape()), dw.offset()));
    }
  });
  return y;
}

Tensor maxout(const Tensor& x, int64_t pieces, int64_t dim) {
  check_input("maxout", x);
  const int d = normalize_dim(dim, x.dim(), "maxout");
  SW_CHECK_VALUE(pieces > 0, "maxout: expected pieces of at least 1, got ", pieces);
  SW_CHECK_SHAPE(x.shape()[d] % pieces == 0, "maxout: expected dimension ", d, " of input ", x.shape(),
                 " to be a multiple of pieces = ", pieces);
  const int64_t groups = x.shape()[d] / pieces;
  const auto piece = [=](const Tensor& t, int64_t i) { return part_of(t, d, i, groups, pieces); };
  Tensor y;
  {
    tape::NoGradGuard guard;
    y = clone(piece(x, 0));
    for (int64_t i = 1; i < pieces; ++i) y = maximum(y, piece(x, i));
  }
  tape::record("maxout", {y}, {x}, {x, y}, [=](tape::Backward& b) {
    const Tensor x = b.saved(0), y = b.saved(1), dx = empty_like(x);
    // Where no piece has had the gradient yet: the first one takes it.
    Tensor open = full(y.shape(), 1.0, DType::Bool, y.device());
    for (int64_t i = 0; i < pieces; ++i) {
      const Tensor part = piece(x, i);
      Tensor taken = logical(BinaryOp::LogicalOr, compare(BinaryOp::Eq, part, y), unary(UnaryOp::IsNan, part));
      taken = logical(BinaryOp::LogicalAnd, taken, open);
      open = logical(BinaryOp::LogicalAnd, open, unary(UnaryOp::LogicalNot, taken));
      copy_into(piece(dx, i), where(taken, b.grad(), number(0, DType::Int64)));
    }
    b.give(0, dx);
  });
  return y;
}

Tensor crelu(const Tensor& x, int64_t dim) {
  check_input("crelu", x);
  const int d = normalize_dim(dim, x.dim(), "crelu");
  const int64_t size = x.shape()[d];
  Shape shape = x.shape();
  shape[d] *= 2;
  const Tensor y = x.dim() >= 3 && x.is_channels_last() ? empty_channels_last(shape, x.dtype(), x.device())
                                                        : empty(shape, x.dtype(), x.device());
  run(Activation::Relu, {}, x, part_of(y, d, 0, size));
  run(Activation::NegRelu, {}, x, part_of(y, d, size, size));
  tape::record("crelu", {y}, {x}, {x}, [=](tape::Backward& b) {
    const Tensor x = b.saved(0), dx = empty_like(x);
    run_grad(Activation::Relu, {}, dx, dx.data(), GradMode::Write, part_of(b.grad(), d, 0, size), x);
    run_grad(Activation::NegRelu, {}, dx, dx.data(), GradMode::Add, part_of(b.grad(), d, size, size), x);
    b.give(0, dx);
  });
  return y;
}

Tensor glu(const Tensor& x, int64_t dim) {
  check_input("glu", x);
  const int d = normalize_dim(dim, x.dim(), "glu");
  SW_CHECK_SHAPE(x.dim() > 0 && x.shape()[d] % 2 == 0, "glu: expected dimension ", d, " of input ", x.shape(),
                 " to be even");
  const int64_t half = x.shape()[d] / 2;
  Tensor y;
  {
    tape::NoGradGuard guard;
    y = mul(part_of(x, d, 0, half), sigmoid(to(part_of(x, d, half, half), accumulate_dtype(x.dtype()))));
    y = to(y, x.dtype());
  }
  tape::record("glu", {y}, {x}, {x}, [=](tape::Backward& b) {
    const Tensor x = b.saved(0), dx = empty_like(x);
    const DType wide = accumulate_dtype(x.dtype());
    const Tensor a = part_of(x, d, 0, half), s = sigmoid(to(part_of(x, d, half, half), wide));
    const Tensor da = mul(b.grad(), s);
    copy_into(part_of(dx, d, 0, half), da);
    copy_into(part_of(dx, d, half, half), mul(mul(da, a), rsub(s, number(1, DType::Float64))));
    b.give(0, dx);
  });
  return y;
}

}  // namespace skipway

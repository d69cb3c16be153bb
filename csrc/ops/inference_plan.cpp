#include "ops/inference_plan.h"

#include <optional>
#include <string>

#include "autograd/tape.h"
#include "ops/activation.h"
#include "ops/conv.h"
#include "ops/linear.h"
#include "ops/pool.h"
#include "ops/residual.h"
#include "ops/shape.h"

namespace skipway {

int InferencePlan::add(Step step) {
  const int number = size() + 1;
  for (int value : {step.x, step.other}) {
    SW_CHECK_VALUE(value < number && (value >= 0 || value == step.other), "InferencePlan: value ", value,
                   " does not exist yet; there are ", number);
    if (value > 0) steps_[size_t(value - 1)].last_use = number;
  }
  steps_.push_back(std::move(step));
  return number;
}

int InferencePlan::conv2d(int x, const Tensor& weight, const Tensor& bias, const Shape& stride, const Shape& padding,
                          const Shape& dilation, int64_t groups, int residual, bool relu) {
  Step s{Kind::Conv, x, residual, relu, weight, bias, stride, padding, dilation, {}, groups};
  return add(std::move(s));
}

int InferencePlan::residual_add(int x, int y, bool relu) {
  Step s{Kind::Add, x, y, relu};
  return add(std::move(s));
}

int InferencePlan::relu(int x) {
  Step s{Kind::Relu, x};
  return add(std::move(s));
}

int InferencePlan::linear(int x, const Tensor& weight, const Tensor& bias) {
  Step s{Kind::Linear, x, -1, false, weight, bias};
  return add(std::move(s));
}

int InferencePlan::max_pool2d(int x, const Shape& kernel, const Shape& stride, const Shape& padding,
                              const Shape& dilation, bool ceil_mode) {
  Step s{Kind::MaxPool, x, -1, false, {}, {}, stride, padding, dilation, kernel};
  s.ceil_mode = ceil_mode;
  return add(std::move(s));
}

int InferencePlan::adaptive_avg_pool2d(int x, const Shape& output_size) {
  Step s{Kind::AveragePool, x};
  s.kernel = output_size;
  return add(std::move(s));
}

int InferencePlan::flatten(int x, int64_t start_dim) {
  Step s{Kind::Flatten, x};
  s.number = start_dim;
  return add(std::move(s));
}

Tensor InferencePlan::compute(const Step& s, const Tensor& x, const Tensor& other) {
  switch (s.kind) {
    case Kind::Conv: {
      ConvFusion fusion;
      fusion.residual = other;
      fusion.activation = s.relu ? FusedAct::Relu : FusedAct::None;
      return conv2d_fused(x, s.weight, s.bias, s.stride, s.padding, s.dilation, s.number, fusion).y;
    }
    case Kind::Add:
      return skipway::residual_add(x, other, 1, s.relu ? std::optional<std::string>("relu") : std::nullopt);
    case Kind::Relu:
      return skipway::relu(x);
    case Kind::Linear:
      return skipway::linear(x, s.weight, s.bias);
    case Kind::MaxPool:
      return max_pool("max_pool2d", 2, x, {s.kernel, s.stride, s.padding, s.dilation, s.ceil_mode}, false).values;
    case Kind::AveragePool:
      return adaptive_avg_pool("adaptive_avg_pool2d", 2, x, s.kernel);
    case Kind::Flatten:
      return skipway::flatten(x, s.number, -1);
  }
  return {};
}

Tensor InferencePlan::run(const Tensor& input) const {
  SW_CHECK_VALUE(!steps_.empty(), "InferencePlan: expected at least one op");
  tape::NoGradGuard off;
  std::vector<Tensor> values(steps_.size() + 1);
  values[0] = input.alias();
  for (int i = 0; i < size(); ++i) {
    const Step& s = steps_[size_t(i)];
    values[size_t(i) + 1] = compute(s, values[size_t(s.x)], s.other < 0 ? Tensor() : values[size_t(s.other)]);
    for (int value : {s.x, s.other})  // memory that nobody reads any more goes back
      if (value > 0 && steps_[size_t(value - 1)].last_use == i + 1) values[size_t(value)] = {};
  }
  return values.back();
}

}  // namespace skipway

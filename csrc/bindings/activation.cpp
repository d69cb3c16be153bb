#include "ops/activation.h"

#include "bindings/bindings.h"
#include "ops/elementwise.h"

namespace skipway::bindings {
namespace {

Tensor apply(const char* name, Activation f, const ActivationParams& params, const Tensor& x, bool inplace) {
  return inplace ? activation_(name, f, params, x) : activation(name, f, params, x);
}

// An activation without numbers: name(input, inplace=False), Tensor.name() and Tensor.name_().
void bind_plain(py::module_& m, const char* name, Activation f, const ActivationParams& params, const char* doc) {
  both(
      m, name, [=](const Tensor& x, bool inplace) { return apply(name, f, params, x, inplace); }, "input"_a,
      "inplace"_a = false, doc);
  const std::string changing = std::string(name) + "_";
  method(m, changing.c_str(), [=](const Tensor& x) { return activation_(name, f, params, x); }, "self"_a, doc);
}

constexpr double kSeluAlpha = 1.6732632423543772848170429916717, kSeluScale = 1.0507009873554804934193349852946;

Tensor hardtanh(const Tensor& x, double min_val, double max_val, bool inplace) {
  SW_CHECK_VALUE(min_val <= max_val, "hardtanh: expected min_val <= max_val, got ", min_val, " and ", max_val);
  return apply("hardtanh", Activation::Hardtanh, {min_val, max_val}, x, inplace);
}

Tensor gelu(const Tensor& x, const std::string& approximate) {
  SW_CHECK_VALUE(approximate == "none" || approximate == "tanh",
                 "gelu: expected approximate to be 'none' or 'tanh', got '", approximate, "'");
  return activation("gelu", approximate == "tanh" ? Activation::GeluTanh : Activation::Gelu, {}, x);
}

Tensor celu(const Tensor& x, double alpha, bool inplace) {
  SW_CHECK_VALUE(alpha != 0, "celu: expected alpha other than 0, got ", alpha);
  return apply("celu", Activation::Elu, {alpha, 1, 1 / alpha}, x, inplace);
}

Tensor softplus(const Tensor& x, double beta, double threshold) {
  SW_CHECK_VALUE(beta != 0, "softplus: expected beta other than 0, got ", beta);
  return activation("softplus", Activation::Softplus, {beta, threshold}, x);
}

Tensor shrink(const char* name, Activation f, const Tensor& x, double lambd) {
  SW_CHECK_VALUE(lambd >= 0, name, ": expected lambd of at least 0, got ", lambd);
  return activation(name, f, {lambd}, x);
}

void bind_with_numbers(py::module_& m) {
  both(
      m, "relu", [](const Tensor& x, bool inplace) { return inplace ? relu_(x) : relu(x); }, "input"_a,
      "inplace"_a = false, "max(x, 0); NaN stays NaN (Nair and Hinton 2010).");
  both(m, "relu_", &relu_, "input"_a, "max(x, 0) in place; NaN stays NaN. Returns input.");
  both(
      m, "leaky_relu",
      [](const Tensor& x, double slope, bool inplace) {
        return apply("leaky_relu", Activation::LeakyRelu, {slope}, x, inplace);
      },
      "input"_a, "negative_slope"_a = 0.01, "inplace"_a = false,
      "x where x > 0, else negative_slope * x (Maas et al. 2013, \"Rectifier nonlinearities improve neural network "
      "acoustic models\").");
  method(
      m, "leaky_relu_",
      [](const Tensor& x, double slope) { return activation_("leaky_relu_", Activation::LeakyRelu, {slope}, x); },
      "self"_a, "negative_slope"_a = 0.01, "leaky_relu in place; returns the tensor.");
  both(
      m, "rrelu",
      [](const Tensor& x, double lower, double upper, bool inplace) {
        SW_CHECK_VALUE(lower <= upper, "rrelu: expected lower <= upper, got ", lower, " and ", upper);
        return apply("rrelu", Activation::LeakyRelu, {(lower + upper) / 2}, x, inplace);
      },
      "input"_a, "lower"_a = 1.0 / 8, "upper"_a = 1.0 / 3, "inplace"_a = false,
      "Randomised leaky ReLU as used in evaluation: the slope is the mean of lower and upper (Xu et al. 2015, section "
      "2.4).");
  both(
      m, "elu",
      [](const Tensor& x, double alpha, bool inplace) {
        return apply("elu", Activation::Elu, {alpha, 1, 1}, x, inplace);
      },
      "input"_a, "alpha"_a = 1.0, "inplace"_a = false,
      "x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2016).");
  both(
      m, "celu", &celu, "input"_a, "alpha"_a = 1.0, "inplace"_a = false,
      "x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron 2017, \"Continuously differentiable exponential linear "
      "units\").");
  both(m, "gelu", &gelu, "input"_a, "approximate"_a = "none",
       "x times the normal distribution function of x (Hendrycks and Gimpel 2016, \"Gaussian error linear units\"); "
       "approximate='tanh' is 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), section 2 there.");
  both(m, "softplus", &softplus, "input"_a, "beta"_a = 1.0, "threshold"_a = 20.0,
       "log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold.");
  both(m, "hardtanh", &hardtanh, "input"_a, "min_val"_a = -1.0, "max_val"_a = 1.0, "inplace"_a = false,
       "x held between min_val and max_val.");
  method(
      m, "hardtanh_", [](const Tensor& x, double lo, double hi) { return hardtanh(x, lo, hi, true); }, "self"_a,
      "min_val"_a = -1.0, "max_val"_a = 1.0, "hardtanh in place; returns the tensor.");
  both(
      m, "softshrink",
      [](const Tensor& x, double lambd) { return shrink("softshrink", Activation::Softshrink, x, lambd); }, "input"_a,
      "lambd"_a = 0.5, "x moved by lambd towards 0, and 0 within lambd of it.");
  both(
      m, "hardshrink",
      [](const Tensor& x, double lambd) { return shrink("hardshrink", Activation::Hardshrink, x, lambd); }, "input"_a,
      "lambd"_a = 0.5, "x, and 0 within lambd of 0.");
  both(
      m, "threshold",
      [](const Tensor& x, double threshold, double value, bool inplace) {
        return apply("threshold", Activation::Threshold, {threshold, value}, x, inplace);
      },
      "input"_a, "threshold"_a, "value"_a, "inplace"_a = false, "x where x > threshold, else value.");
}

}  // namespace

SW_BINDINGS(activation) {
  bind_with_numbers(m);
  bind_plain(m, "selu", Activation::Elu, {kSeluAlpha, kSeluScale, 1},
             "Scaled ELU, scale * (x where x > 0, else alpha * (exp(x) - 1)) with alpha 1.6733 and scale 1.0507 "
             "(Klambauer et al. 2017, \"Self-normalizing neural networks\", equation 2).");
  bind_plain(
      m, "silu", Activation::Silu, {},
      "x * sigmoid(x) (Elfwing et al. 2018, \"Sigmoid-weighted linear units\"; swish in Ramachandran et al. 2017).");
  bind_plain(m, "mish", Activation::Mish, {}, "x * tanh(softplus(x)) (Misra 2019, \"Mish\").");
  bind_plain(m, "relu6", Activation::Hardtanh, {0, 6},
             "x held between 0 and 6 (Krizhevsky 2010, \"Convolutional deep belief networks on CIFAR-10\").");
  bind_plain(m, "hardswish", Activation::Hardswish, {},
             "x * relu6(x + 3) / 6 (Howard et al. 2019, \"Searching for MobileNetV3\", section 5.2).");
  bind_plain(m, "hardsigmoid", Activation::Hardsigmoid, {},
             "relu6(x + 3) / 6, the gate of hardswish (Howard et al. 2019, section 5.2).");
  bind_plain(m, "softsign", Activation::Softsign, {}, "x / (1 + |x|).");
  bind_plain(m, "logsigmoid", Activation::LogSigmoid, {}, "log(sigmoid(x)).");
  bind_plain(m, "tanhshrink", Activation::Tanhshrink, {}, "x - tanh(x).");
  both(m, "prelu", &prelu, "input"_a, "weight"_a,
       "x where x > 0, else weight * x; one weight, or one per channel (He et al. 2015, \"Delving deep into "
       "rectifiers\", "
       "equation 1).");
  both(m, "maxout", &maxout, "input"_a, "pieces"_a, "dim"_a = 1,
       "The largest of each `pieces` neighbours along dim (Goodfellow et al. 2013, \"Maxout networks\").");
  both(m, "crelu", &crelu, "input"_a, "dim"_a = 1,
       "relu(x) and relu(-x), one behind the other along dim (Shang et al. 2016, definition 2.1).");
  both(m, "glu", &glu, "input"_a, "dim"_a = -1,
       "a * sigmoid(b), a and b the halves of x along dim (Dauphin et al. 2017, equation 1). ShapeError for an odd "
       "size.");
}

}  // namespace skipway::bindings

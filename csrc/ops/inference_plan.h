// A network as a list of ops on numbered values, for inference: run() computes them one after the other without
// returning to Python, and nothing is recorded for a backward pass. Value 0 is the input; each method below adds an op
// and returns the number of its result, which later ones may read.
//
// The ops are those of residual networks, with additions and relu in the convolution's epilogue. Weights are held, not
// copied: a change made to one in place shows in the next run.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "kernels/fused_args.h"

namespace skipway {

class InferencePlan {
 public:
  // act(convolution + value `residual`); residual -1: none. float32, bfloat16 or, on CUDA devices, float16.
  int conv2d(int x, const Tensor& weight, const Tensor& bias, const Shape& stride, const Shape& padding,
             const Shape& dilation, int64_t groups, int residual, bool relu);
  int residual_add(int x, int y, bool relu);
  int relu(int x);
  int linear(int x, const Tensor& weight, const Tensor& bias);
  int max_pool2d(int x, const Shape& kernel, const Shape& stride, const Shape& padding, const Shape& dilation,
                 bool ceil_mode);
  int adaptive_avg_pool2d(int x, const Shape& output_size);
  int flatten(int x, int64_t start_dim);

  Tensor run(const Tensor& input) const;  // the last value
  int size() const { return int(steps_.size()); }

 private:
  enum class Kind { Conv, Add, Relu, Linear, MaxPool, AveragePool, Flatten };
  struct Step {
    Kind kind;
    int x, other = -1;
    bool relu = false;
    Tensor weight = {}, bias = {};
    Shape stride = {}, padding = {}, dilation = {}, kernel = {};
    int64_t number = 1;  // groups, or the first dimension to flatten
    bool ceil_mode = false;
    int last_use = -1;  // of this step's result
  };
  int add(Step step);
  static Tensor compute(const Step& step, const Tensor& x, const Tensor& other);

  std::vector<Step> steps_;
};

}  // namespace skipway

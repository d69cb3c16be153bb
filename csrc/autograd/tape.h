// Reverse-mode differentiation. An op that has computed its outputs calls record(); the node it adds keeps what the
// backward closure needs and the edges to the nodes that made the inputs.
//
//   Tensor relu(const Tensor& x) {
//     Tensor y = empty_like(x);
//     launch(x.device(), relu_forward, {...});
//     tape::record("relu", {y}, {x}, {y}, [](tape::Backward& b) {
//       Tensor dx = empty_like(b.grad());
//       launch(..., relu_backward, {b.grad().data(), b.saved(0).data(), dx.data(), ...});
//       b.give(0, dx);
//     });
//     return y;
//   }
//
// The closure captures plain values; tensors it needs go through `saved`, so that a change made to one of them in place
// is an error, and so that an op may save its own output without a cycle. Inside a backward closure recording is off:
// it may call any op. Inputs and saved tensors may be undefined (an absent bias).
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway::tape {

struct Node;
class Engine;

struct Edge {
  std::shared_ptr<Node> node;  // null: nothing upstream asks for a gradient
  int output = 0;              // which of the node's outputs
};

class Backward {
 public:
  // The gradient of output i: has its shape and dtype, any strides. Undefined when nothing used that output (never for
  // the only output of a node).
  const Tensor& grad(int output = 0) const;
  bool needs(int input) const;                  // does anything ask for the gradient of input i?
  Tensor saved(int i) const;                    // as passed to record(), without autograd state
  void give(int input, Tensor grad);            // adds a gradient of the input's shape; ignored unless needs(input)
  // For kernels with gradient modes: memory for the gradient of an input, laid out as `like` (dense, of the input's
  // shape). Add when a gradient of that layout is already there to be added to, Write otherwise, Skip when not needed.
  Grad target(int input, const Tensor& like);

 private:
  friend class Engine;
  Engine* engine_ = nullptr;
  Node* node_ = nullptr;
  const std::vector<Tensor>* grads_ = nullptr;
};
using BackwardFn = std::function<void(Backward&)>;

bool grad_enabled();
void set_grad_enabled(bool on);
struct NoGradGuard {
  bool before = grad_enabled();
  NoGradGuard() { set_grad_enabled(false); }
  ~NoGradGuard() { set_grad_enabled(before); }
};
bool should_record(std::initializer_list<Tensor> inputs);  // grad mode is on and one of them requires grad

// Makes `outputs` results of a new node, if should_record(inputs). Outputs must be fresh floating tensors.
void record(const char* name, std::initializer_list<Tensor> outputs, std::initializer_list<Tensor> inputs,
            std::initializer_list<Tensor> saved, BackwardFn backward);
void record(const char* name, const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
            const std::vector<Tensor>& saved, BackwardFn backward);  // where the number of tensors varies

// A view of base. `backward` maps the view's gradient to the base's (b.give(0, ...)).
Tensor view(const char* name, const Tensor& base, const Shape& shape, const Shape& strides, int64_t offset,
            BackwardFn backward);

// In place. begin: may x be changed (not a leaf that requires grad, not an expanded view)? finish: x's memory now holds
// `result`'s values (a tensor on x's own memory or another), and from here on x's history is result's; counts the change.
void begin_inplace(const char* name, const Tensor& x);
void finish_inplace(const Tensor& x, const Tensor& result);

}  // namespace skipway::tape

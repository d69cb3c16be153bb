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

namespace skipway {
// What the tape asks of the ops (ops/copy.cpp and ops/elementwise.cpp).
void copy_into(const Tensor& dst, const Tensor& src);
namespace tape {
Tensor accumulate(Tensor into, const Tensor& g, bool in_place);  // into + g; in place it uses into's memory
}
}  // namespace skipway

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
  // grad(output) when nobody else holds its memory: the closure may overwrite it, and give it on. Undefined otherwise.
  Tensor own_grad(int output = 0) const;
  bool needs(int input) const;        // does anything ask for the gradient of input i?
  Tensor saved(int i) const;          // as passed to record(), without autograd state
  void give(int input, Tensor grad);  // adds a gradient of the input's shape; ignored unless needs(input)
  // For kernels with gradient modes: memory for the gradient of an input, laid out as `like` (dense, of the input's
  // shape). Add when a gradient of that layout is already there to be added to, Write otherwise, Skip when not needed.
  Grad target(int input, const Tensor& like);
  // The dtype in which the gradients of an input are added up: float32 where more than two of bfloat16 may come. A
  // kernel that can write it asks for a target() of that dtype; one that cannot gets memory of its own.
  DType sum_dtype(int input) const;

 private:
  friend class Engine;
  Tensor* slot(int input);

  Engine* engine_ = nullptr;
  Node* node_ = nullptr;
  std::vector<Tensor> grads_;
  std::vector<Tensor*> targeted_;                // slots that target() handed out: nothing else may touch them yet
  std::vector<std::pair<int, Tensor>> pending_;  // to be given when the closure has returned
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
// `result`'s values (a tensor on x's own memory or another), and from here on x's history is result's; counts the
// change.
void begin_inplace(const char* name, const Tensor& x);
void finish_inplace(const Tensor& x, const Tensor& result);

// Walks the graph backward from `roots` (undefined root gradients: 1, for one-element roots). With `inputs`, returns
// their gradients (undefined where nothing depends on one) and leaves .grad of everything alone, unless `into_leaves`.
struct BackwardOptions {
  bool retain_graph = false;
  bool into_leaves = true;
};
std::vector<Tensor> backward(const std::vector<Tensor>& roots, const std::vector<Tensor>& root_grads,
                             const std::vector<Tensor>& inputs, BackwardOptions options);

// ---- state of single tensors ----------------------------------------------------------------------------------------
using Hook = std::function<Tensor(const Tensor&)>;  // returns another gradient, or an undefined tensor to keep it
struct HookList {
  uint64_t next_id = 0;
  std::vector<std::pair<uint64_t, Hook>> hooks;
  Tensor run(Tensor grad) const;
};

struct AutogradMeta {
  Edge made_by;                     // null node: a leaf
  std::weak_ptr<Node> accumulator;  // of a leaf that requires grad
  Tensor grad;
  std::shared_ptr<HookList> hooks;             // of a leaf
  std::shared_ptr<HookList> after_accumulate;  // of a leaf
  bool retains_grad = false;
  Tensor base;                   // of a view
  Node* base_made_by = nullptr;  // base's node when made_by was last right
};

struct Node {
  const char* name;
  uint64_t sequence;                               // grows: a node's inputs come from nodes with smaller numbers
  std::vector<Edge> edges;                         // one per input; null where no gradient is asked for
  std::vector<std::pair<Tensor, uint64_t>> saved;  // alias and version
  BackwardFn backward;
  struct Output {
    Shape shape;
    DType dtype;
  };
  std::vector<Output> outputs;
  std::vector<std::shared_ptr<HookList>> hooks;  // per output
  std::weak_ptr<TensorImpl> leaf;                // set in accumulators
  bool is_accumulator = false;
  bool released = false;  // its saved tensors are gone

  Node(const char* name, uint64_t sequence) : name(name), sequence(sequence) {}
  Node(const Node&) = delete;
  ~Node();  // frees long chains without recursion
};

bool is_leaf(const Tensor& t);
Edge edge_of(const Tensor& t);                     // null node unless t requires grad
void set_requires_grad(const Tensor& t, bool on);  // leaves only; floating dtypes only
Tensor grad_of(const Tensor& t);
void set_grad(const Tensor& t, const Tensor& grad);
void retain_grad(const Tensor& t);
std::shared_ptr<HookList> hooks_of(const Tensor& t);
AutogradMeta& meta_of(const Tensor& t);  // made if absent

}  // namespace skipway::tape

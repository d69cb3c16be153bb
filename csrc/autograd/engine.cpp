// The walk backward: nodes in the order of decreasing sequence numbers, so that each is reached after everything that
// uses its outputs. No recursion, and each node is freed as soon as it has run.
#include <algorithm>
#include <unordered_map>

#include "autograd/tape.h"
#include "core/deferred.h"

namespace skipway::tape {
namespace {

Tensor ones_scalar(const Tensor& root) {
  Tensor one = empty({}, DType::Float32), seed = empty_like(root);
  *one.data_as<float>() = 1;
  copy_into(seed, one);
  return seed;
}

// May a gradient be added to in place? Nobody else may see its memory.
bool exclusively_ours(const Tensor& t) {
  return t.ptr().use_count() == 1 && t.storage().use_count() == 1 && !t.storage()->release && t.is_dense();
}

}  // namespace

Tensor as_dtype(const Tensor& t, DType dtype) {
  Tensor y = empty_like(t, dtype);
  copy_into(y, t);
  return y;
}

class Engine {
 public:
  Engine(const std::vector<Tensor>& roots, const std::vector<Tensor>& root_grads, const std::vector<Tensor>& inputs,
         BackwardOptions options)
      : options_(options), captured_(inputs.size()) {
    for (const Tensor& r : roots) {
      const Edge e = edge_of(r);
      SW_CHECK(e.node, "backward: the tensor of shape ", r.shape(), " does not require grad and has no history");
      roots_.push_back(e);
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      check_defined("grad", "every input", inputs[i]);
      const Edge e = edge_of(inputs[i]);
      SW_CHECK(e.node, "grad: input ", i, " of shape ", inputs[i].shape(), " does not require grad");
      captures_[e.node.get()].emplace_back(e.output, i);
    }
    collect();
    for (size_t i = 0; i < roots.size(); ++i) seed(roots[i], root_grads[i], roots_[i]);
  }

  std::vector<Tensor> run() {
    for (auto& state : order_) execute(*state);
    return std::move(captured_);
  }

  struct State {
    std::shared_ptr<Node> node;
    bool needed = true;
    std::vector<Tensor> grads;
    std::vector<int> uses;  // how many gradients may come for each output
  };

  State* state(Node* node) { return states_.at(node); }

  // More than two bfloat16 gradients are summed in float32, and rounded once, when the node runs.
  DType sum_dtype(const Edge& edge) {
    const DType dtype = edge.node->outputs[size_t(edge.output)].dtype;
    return state(edge.node.get())->uses[size_t(edge.output)] > 2 ? accumulate_dtype(dtype) : dtype;
  }

  void add(const Edge& edge, Tensor g) {
    State& s = *state(edge.node.get());
    Tensor& slot = s.grads[size_t(edge.output)];
    if (!slot.defined()) {
      slot = std::move(g);
      return;
    }
    if (const DType sum = sum_dtype(edge); slot.dtype() != sum) slot = as_dtype(slot, sum);
    const bool in_place = exclusively_ours(slot);
    if (in_place) ++slot.storage()->version;
    slot = accumulate(std::move(slot), g, in_place);
  }

 private:
  void collect() {
    std::vector<std::shared_ptr<Node>> stack;
    const auto visit = [&](const std::shared_ptr<Node>& node) {
      if (!node || states_.count(node.get())) return;
      SW_CHECK(!node->released, "backward: the graph was walked before, and what ", node->name,
               " had saved is freed; call backward(retain_graph=True) the first time");
      order_.push_back(std::make_unique<State>());
      order_.back()->node = node;
      order_.back()->grads.resize(node->outputs.size());
      order_.back()->uses.resize(node->outputs.size());
      states_[node.get()] = order_.back().get();
      stack.push_back(node);
    };
    const auto reach = [&](const Edge& e) {
      visit(e.node);
      if (e.node) ++state(e.node.get())->uses[size_t(e.output)];
    };
    for (const Edge& e : roots_) reach(e);
    while (!stack.empty()) {
      const std::shared_ptr<Node> node = std::move(stack.back());
      stack.pop_back();
      for (const Edge& e : node->edges) reach(e);
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [](const auto& a, const auto& b) { return a->node->sequence > b->node->sequence; });
    if (captures_.empty()) return;
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) {  // inputs before users
      State& s = **it;
      s.needed = captures_.count(s.node.get()) > 0;
      for (const Edge& e : s.node->edges) s.needed |= e.node && state(e.node.get())->needed;
    }
  }

  void seed(const Tensor& root, const Tensor& grad, const Edge& edge) {
    if (grad.defined()) {
      SW_CHECK_SHAPE(grad.shape() == root.shape(), "backward: expected a gradient of shape ", root.shape(), ", got ",
                     grad.shape());
      check_same("backward", "gradient", grad, "tensor", root);
    } else {
      SW_CHECK(root.numel() == 1, "backward: expected a tensor with one element, or a gradient argument; got shape ",
               root.shape());
    }
    add(edge, grad.defined() ? grad.alias() : ones_scalar(root));
  }

  void run_hooks(State& s) {
    Node& node = *s.node;
    for (size_t i = 0; i < node.hooks.size(); ++i)
      if (node.hooks[i] && s.grads[i].defined()) s.grads[i] = node.hooks[i]->run(std::move(s.grads[i]));
    if (node.is_accumulator && s.grads[0].defined()) {
      if (auto leaf = node.leaf.lock(); leaf && leaf->autograd->hooks) {
        s.grads[0] = leaf->autograd->hooks->run(std::move(s.grads[0]));
      }
    }
  }

  void execute(State& s) {
    Node& node = *s.node;
    const bool reached = std::any_of(s.grads.begin(), s.grads.end(), [](const Tensor& g) { return g.defined(); });
    if (reached && s.needed) {
      for (size_t i = 0; i < s.grads.size(); ++i) {
        Tensor& g = s.grads[i];
        if (g.defined() && g.dtype() != node.outputs[i].dtype) g = as_dtype(g, node.outputs[i].dtype);
      }
      run_hooks(s);
      capture(s);
      if (node.is_accumulator) {
        if (options_.into_leaves) accumulate_into_leaf(node, std::move(s.grads[0]));
      } else {
        if (wants_inputs(node)) call(node, std::move(s.grads));
        if (!options_.retain_graph) release(node);
      }
    }
    s.grads.clear();
    s.node = nullptr;
  }

  static void release(Node& node) {
    node.released = true;
    node.backward = nullptr;
    node.saved.clear();
    node.edges.clear();
  }

  void capture(State& s) {
    const auto found = captures_.find(s.node.get());
    if (found == captures_.end()) return;
    for (const auto& [output, i] : found->second)
      if (s.grads[size_t(output)].defined()) captured_[i] = s.grads[size_t(output)].alias();
  }

  bool wants_inputs(const Node& node) {
    return std::any_of(node.edges.begin(), node.edges.end(),
                       [&](const Edge& e) { return e.node && state(e.node.get())->needed; });
  }

  void call(Node& node, std::vector<Tensor> grads) {
    for (const auto& [tensor, version] : node.saved) {
      if (!tensor.defined()) continue;
      SW_CHECK(tensor.version() == version, "backward of ", node.name, ": a tensor of shape ", tensor.shape(),
               " that it saved was changed in place since (version ", version, " then, ", tensor.version(),
               " now); clone() it before the change");
    }
    Backward b;
    b.engine_ = this;
    b.node_ = &node;
    b.grads_ = std::move(grads);
    node.backward(b);
    b.grads_.clear();
    b.targeted_.clear();
    for (auto& [input, g] : b.pending_) add(node.edges[size_t(input)], std::move(g));
  }

  void accumulate_into_leaf(Node& node, Tensor g) {
    const auto impl = node.leaf.lock();
    if (!impl || !impl->requires_grad) return;
    const Tensor leaf(impl);
    AutogradMeta& meta = meta_of(leaf);
    if (meta.grad.defined()) {
      settle_readers(meta.grad.storage());
      const Tensor sum = accumulate(meta.grad, g, meta.grad.is_dense());
      if (sum.storage() == meta.grad.storage()) {
        ++meta.grad.storage()->version;
      } else {
        meta.grad = sum;
      }
    } else if (exclusively_ours(g)) {
      meta.grad = std::move(g);
    } else {
      meta.grad = empty_like(leaf);
      copy_into(meta.grad, g);
    }
    if (meta.after_accumulate) meta.after_accumulate->run(leaf);
  }

  BackwardOptions options_;
  std::vector<Edge> roots_;
  std::vector<std::unique_ptr<State>> order_;
  std::unordered_map<Node*, State*> states_;
  std::unordered_map<Node*, std::vector<std::pair<int, size_t>>> captures_;
  std::vector<Tensor> captured_;
};

const Tensor& Backward::grad(int output) const { return grads_[size_t(output)]; }

Tensor Backward::own_grad(int output) const {
  const Tensor& g = grad(output);
  return g.defined() && exclusively_ours(g) ? g : Tensor();
}

bool Backward::needs(int input) const {
  const Edge& e = node_->edges[size_t(input)];
  return e.node && engine_->state(e.node.get())->needed;
}

Tensor Backward::saved(int i) const {
  const Tensor& t = node_->saved[size_t(i)].first;
  return t.defined() ? t.alias() : t;
}

Tensor* Backward::slot(int input) {
  const Edge& e = node_->edges[size_t(input)];
  return &engine_->state(e.node.get())->grads[size_t(e.output)];
}

void Backward::give(int input, Tensor grad) {
  if (!needs(input)) return;
  const Edge& e = node_->edges[size_t(input)];
  const Node::Output& expected = e.node->outputs[size_t(e.output)];
  SW_CHECK_SHAPE(grad.shape() == expected.shape, "backward of ", node_->name, ": the gradient of input ", input,
                 " has shape ", grad.shape(), ", expected ", expected.shape);
  SW_CHECK_TYPE(grad.dtype() == expected.dtype, "backward of ", node_->name, ": the gradient of input ", input, " is ",
                grad.dtype(), ", expected ", expected.dtype);
  Tensor* to = slot(input);
  if (std::find(targeted_.begin(), targeted_.end(), to) != targeted_.end()) {
    pending_.emplace_back(input, grad.alias());
  } else {
    engine_->add(e, grad.alias());
  }
}

DType Backward::sum_dtype(int input) const { return engine_->sum_dtype(node_->edges[size_t(input)]); }

Grad Backward::target(int input, const Tensor& like) {
  if (!needs(input)) return {};
  Tensor* to = slot(input);
  const bool may_add = like.dtype() == sum_dtype(input);
  if (std::find(targeted_.begin(), targeted_.end(), to) == targeted_.end()) {
    if (!to->defined()) {
      *to = empty_like(like);
      targeted_.push_back(to);
      return {to->data(), GradMode::Write};
    }
    if (may_add && to->dtype() == like.dtype() && to->shape() == like.shape() && to->strides() == like.strides() &&
        exclusively_ours(*to)) {
      targeted_.push_back(to);
      ++to->storage()->version;
      return {to->data(), GradMode::Add};
    }
  }
  pending_.emplace_back(input, empty_like(like));
  return {pending_.back().second.data(), GradMode::Write};
}

std::vector<Tensor> backward(const std::vector<Tensor>& roots, const std::vector<Tensor>& root_grads,
                             const std::vector<Tensor>& inputs, BackwardOptions options) {
  SW_CHECK_VALUE(roots.size() == root_grads.size(), "backward: expected a gradient (or None) for each of ",
                 roots.size(), " tensors, got ", root_grads.size());
  NoGradGuard no_grad;
  Engine engine(roots, root_grads, inputs, options);
  return engine.run();
}

}  // namespace skipway::tape

// Recording: nodes, edges, views and in-place changes. The walk backward is in engine.cpp.
#include "autograd/tape.h"

#include <atomic>

#include "core/deferred.h"

namespace skipway::tape {
namespace {

thread_local bool grad_mode = true;

uint64_t next_sequence() {
  static std::atomic<uint64_t> counter{1};  // accumulators have 0: they come last in a walk
  return counter++;
}

bool wants_grad(const Tensor& t) { return t.defined() && t.requires_grad(); }

// The gradient of a region of `base` (the region has the given geometry), gathered from and scattered to a gradient g
// of base's layout.
Tensor same_layout(const Tensor& g, const Shape& strides) {
  if (g.strides() == strides) return g;
  Tensor copy = empty_strided(g.shape(), strides, g.dtype(), g.device());
  copy_into(copy, g);
  return copy;
}

// After an in-place change of a view, base = old base with a region replaced by `result`:
// d(old base) = g outside of the region, 0 inside; d(result) = g inside.
Edge replaced_region(const Tensor& base, const Tensor& view, const Tensor& result) {
  std::vector<Edge> edges = {edge_of(base), edge_of(result)};
  auto node = std::make_shared<Node>("copy_slices", next_sequence());
  node->edges = std::move(edges);
  node->outputs = {{base.shape(), base.dtype()}};
  const Shape base_strides = base.is_dense() ? base.strides() : contiguous_strides(base.shape());
  const Shape shape = view.shape(), strides = view.strides();
  const int64_t offset = view.offset() - base.offset();
  SW_CHECK(base.is_dense(), "in-place change of a view: its base must be dense in memory, got shape ", base.shape(),
           " with strides ", base.strides());
  node->backward = [=](Backward& b) {
    const Tensor g = same_layout(b.grad(), base_strides);
    const Tensor region = g.as_strided(shape, strides, g.offset() + offset);
    if (b.needs(1)) {
      Tensor inside = empty(shape, g.dtype(), g.device());
      copy_into(inside, region);
      b.give(1, inside);
    }
    if (b.needs(0)) {
      Tensor outside = empty_strided(g.shape(), base_strides, g.dtype(), g.device());
      copy_into(outside, g);
      copy_into(outside.as_strided(shape, strides, offset), zeros({}, g.dtype(), g.device()));
      b.give(0, outside);
    }
  };
  return {node, 0};
}

// The node of a view whose base got a new history: a plain window on the base.
Edge window(const Tensor& base, const Tensor& view) {
  const Edge to = edge_of(base);
  if (!to.node) return {};
  auto node = std::make_shared<Node>("as_strided", next_sequence());
  node->edges = {to};
  node->outputs = {{view.shape(), view.dtype()}};
  const Shape base_shape = base.shape(), base_strides = base.strides(), shape = view.shape(), strides = view.strides();
  const int64_t offset = view.offset() - base.offset();
  node->backward = [=](Backward& b) {
    Tensor g = empty_strided(base_shape, base_strides, b.grad().dtype(), b.grad().device());
    copy_into(g, zeros({}, g.dtype(), g.device()));
    copy_into(g.as_strided(shape, strides, offset), b.grad());
    b.give(0, g);
  };
  return {node, 0};
}

template <class Tensors>
bool any_requires(const Tensors& inputs) {
  for (const Tensor& t : inputs)
    if (wants_grad(t)) return true;
  return false;
}

template <class Tensors>
void record_node(const char* name, const Tensors& outputs, const Tensors& inputs, const Tensors& saved,
                 BackwardFn backward) {
  if (!grad_mode || !any_requires(inputs)) return;
  std::vector<Edge> edges;
  edges.reserve(inputs.size());
  for (const Tensor& t : inputs) edges.push_back(edge_of(t));  // may make nodes: they come before this one
  auto node = std::make_shared<Node>(name, next_sequence());
  node->edges = std::move(edges);
  node->saved.reserve(saved.size());
  for (const Tensor& t : saved) {
    node->saved.emplace_back(t.defined() ? t.alias() : Tensor(), t.defined() ? t.version() : 0);
  }
  node->backward = std::move(backward);
  int i = 0;
  for (const Tensor& t : outputs) {
    node->outputs.push_back({t.shape(), t.dtype()});
    meta_of(t).made_by = {node, i++};
    t.impl()->requires_grad = true;
  }
}

}  // namespace

Node::~Node() {
  // A chain of a million nodes would recurse as deep: hand the inputs' nodes to the outermost destructor instead.
  thread_local std::vector<std::shared_ptr<Node>> orphans;
  thread_local bool draining = false;
  for (Edge& e : edges) {
    if (e.node && e.node.use_count() == 1) orphans.push_back(std::move(e.node));
  }
  if (draining) return;
  draining = true;
  while (!orphans.empty()) {
    std::shared_ptr<Node> last = std::move(orphans.back());
    orphans.pop_back();
    last.reset();
  }
  draining = false;
}

bool grad_enabled() { return grad_mode; }
void set_grad_enabled(bool on) { grad_mode = on; }
bool should_record(std::initializer_list<Tensor> inputs) { return grad_mode && any_requires(inputs); }

AutogradMeta& meta_of(const Tensor& t) {
  auto& meta = t.impl()->autograd;
  if (!meta) meta = std::make_shared<AutogradMeta>();
  return *meta;
}

bool is_leaf(const Tensor& t) { return !t.requires_grad() || !edge_of(t).node || edge_of(t).node->is_accumulator; }

Edge edge_of(const Tensor& t) {
  if (!wants_grad(t)) return {};
  AutogradMeta& meta = meta_of(t);
  if (meta.base.defined()) {
    Node* now = meta.base.impl()->autograd ? meta.base.impl()->autograd->made_by.node.get() : nullptr;
    if (now != meta.base_made_by) {
      meta.made_by = window(meta.base, t);
      meta.base_made_by = now;
    }
  }
  if (meta.made_by.node) return meta.made_by;
  auto node = meta.accumulator.lock();
  if (!node) {
    node = std::make_shared<Node>("accumulate_grad", 0);
    node->is_accumulator = true;
    node->leaf = t.ptr();
    node->outputs = {{t.shape(), t.dtype()}};
    meta.accumulator = node;
  }
  return {node, 0};
}

void record(const char* name, std::initializer_list<Tensor> outputs, std::initializer_list<Tensor> inputs,
            std::initializer_list<Tensor> saved, BackwardFn backward) {
  record_node(name, outputs, inputs, saved, std::move(backward));
}

void record(const char* name, const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
            const std::vector<Tensor>& saved, BackwardFn backward) {
  record_node(name, outputs, inputs, saved, std::move(backward));
}

Tensor view(const char* name, const Tensor& base, const Shape& shape, const Shape& strides, int64_t offset,
            BackwardFn backward) {
  Tensor v = base.as_strided(shape, strides, offset);
  if (!is_floating(v.dtype())) return v;
  AutogradMeta& meta = meta_of(v);
  const auto& above = base.impl()->autograd;
  meta.base = above && above->base.defined() ? above->base : base;
  record(name, {v}, {base}, {}, std::move(backward));  // also brings base's own node up to date
  const auto& root = meta.base.impl()->autograd;
  meta.base_made_by = root ? root->made_by.node.get() : nullptr;
  return v;
}

void begin_inplace(const char* name, const Tensor& x) {
  check_defined(name, "input", x);
  for (int i = 0; i < x.dim(); ++i) {
    SW_CHECK(x.strides()[i] != 0 || x.shape()[i] <= 1, name, ": the tensor of shape ", x.shape(),
             " was expanded, so several elements share memory; call clone() before changing it in place");
  }
  settle_readers(x.storage());
  if (!grad_mode) return;
  const auto& meta = x.impl()->autograd;
  const Tensor& owner = meta && meta->base.defined() ? meta->base : x;
  SW_CHECK(!owner.requires_grad() || !is_leaf(owner), name, ": a ", &owner == &x ? "leaf" : "view of a leaf",
           " tensor that requires grad cannot be changed in place; do it under no_grad()");
}

void finish_inplace(const Tensor& x, const Tensor& result) {
  ++x.storage()->version;
  if (!grad_mode || (!wants_grad(x) && !wants_grad(result))) return;
  AutogradMeta& meta = meta_of(x);
  if (meta.base.defined()) {
    AutogradMeta& base = meta_of(meta.base);
    base.made_by = replaced_region(meta.base, x, result);
    meta.base.impl()->requires_grad = true;
    x.impl()->requires_grad = true;  // edge_of() makes the new window
  } else {
    const Edge edge = edge_of(result);
    meta.made_by = edge;
    x.impl()->requires_grad = edge.node != nullptr;
  }
  if (meta.retains_grad) retain_grad(x);
}

void set_requires_grad(const Tensor& t, bool on) {
  if (t.requires_grad() == on) return;
  SW_CHECK(is_floating(t.dtype()), "requires_grad: only floating dtypes have gradients, got ", t.dtype());
  SW_CHECK(on || is_leaf(t), "requires_grad: only a leaf can stop requiring grad; call detach()");
  t.impl()->requires_grad = on;
}

Tensor grad_of(const Tensor& t) { return t.impl()->autograd ? t.impl()->autograd->grad : Tensor(); }

void set_grad(const Tensor& t, const Tensor& grad) {
  if (grad.defined()) {
    SW_CHECK_SHAPE(grad.shape() == t.shape(), "grad: expected shape ", t.shape(), ", got ", grad.shape());
    check_same("grad", "grad", grad, "tensor", t);
  }
  meta_of(t).grad = grad;
}

std::shared_ptr<HookList> hooks_of(const Tensor& t) {
  SW_CHECK(t.requires_grad(), "register_hook: expected a tensor that requires grad");
  const Edge edge = edge_of(t);
  if (edge.node->is_accumulator) {
    auto& list = meta_of(t).hooks;
    if (!list) list = std::make_shared<HookList>();
    return list;
  }
  auto& hooks = edge.node->hooks;
  if (hooks.size() < edge.node->outputs.size()) hooks.resize(edge.node->outputs.size());
  auto& list = hooks[size_t(edge.output)];
  if (!list) list = std::make_shared<HookList>();
  return list;
}

void retain_grad(const Tensor& t) {
  SW_CHECK(t.requires_grad(), "retain_grad: expected a tensor that requires grad");
  if (is_leaf(t)) return;
  meta_of(t).retains_grad = true;
  auto list = hooks_of(t);
  list->hooks.emplace_back(list->next_id++, [weak = std::weak_ptr<TensorImpl>(t.ptr())](const Tensor& g) {
    if (auto impl = weak.lock()) {
      Tensor& grad = meta_of(Tensor(impl)).grad;
      grad = grad.defined() ? accumulate(grad, g, false) : g;
    }
    return Tensor();
  });
}

Tensor HookList::run(Tensor grad) const {
  const auto now = hooks;  // a hook may remove itself
  for (const auto& [id, hook] : now) {
    if (Tensor replaced = hook(grad); replaced.defined()) {
      SW_CHECK_SHAPE(replaced.shape() == grad.shape(), "hook: expected a gradient of shape ", grad.shape(), ", got ",
                     replaced.shape());
      grad = replaced;
    }
  }
  return grad;
}

}  // namespace skipway::tape

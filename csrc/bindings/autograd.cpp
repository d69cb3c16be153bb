// The tape from Python: backward, grad, hooks, and nodes whose backward is a Python function.
#include "autograd/tape.h"

#include "bindings/bindings.h"

namespace skipway::bindings {
namespace {

// A Python object in a closure that may be destroyed on any thread, with or without the GIL.
using Held = std::shared_ptr<PyObject>;
Held hold(const py::object& object) {
  return Held(py::object(object).release().ptr(), [](PyObject* o) {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    Py_DECREF(o);
  });
}

tape::Hook python_hook(const py::object& function) {
  return [held = hold(function)](const Tensor& grad) {
    py::gil_scoped_acquire gil;
    const py::object out = py::reinterpret_borrow<py::object>(held.get())(grad);
    return out.is_none() ? Tensor() : out.cast<Tensor>();
  };
}

struct HookHandle {
  std::weak_ptr<tape::HookList> list;
  uint64_t id;
  void remove() {
    if (auto l = list.lock()) std::erase_if(l->hooks, [&](const auto& h) { return h.first == id; });
  }
};

HookHandle add_hook(const std::shared_ptr<tape::HookList>& list, const py::object& function) {
  list->hooks.emplace_back(list->next_id, python_hook(function));
  return {list, list->next_id++};
}

HookHandle after_accumulate(const Tensor& t, const py::object& function) {
  SW_CHECK(t.requires_grad() && tape::is_leaf(t),
           "register_post_accumulate_grad_hook: expected a leaf that requires grad");
  auto& list = tape::meta_of(t).after_accumulate;
  if (!list) list = std::make_shared<tape::HookList>();
  return add_hook(list, function);
}

// sw.autograd.Function: outputs become results of a node whose backward calls `function(*grads)`, which returns one
// gradient (or None) per input.
void record_python(const std::string& name, const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                   const py::object& function) {
  static std::vector<std::unique_ptr<std::string>> names;  // nodes keep bare pointers; few different names exist
  const auto found = std::find_if(names.begin(), names.end(), [&](const auto& n) { return *n == name; });
  const char* kept = found != names.end() ? (*found)->c_str() : names.emplace_back(new std::string(name))->c_str();
  const size_t n_out = outputs.size(), n_in = inputs.size();
  tape::record(kept, outputs, inputs, {}, [=, held = hold(function)](tape::Backward& b) {
    py::gil_scoped_acquire gil;
    py::tuple grads(n_out);
    for (size_t i = 0; i < n_out; ++i) grads[i] = b.grad(int(i));
    py::object result = py::reinterpret_borrow<py::object>(held.get())(*grads);
    if (!py::isinstance<py::tuple>(result)) result = py::make_tuple(result);
    const auto list = result.cast<py::tuple>();
    SW_CHECK(list.size() == n_in, kept, ": backward returned ", list.size(), " gradients for ", n_in, " inputs");
    for (size_t i = 0; i < n_in; ++i)
      if (!list[i].is_none()) b.give(int(i), list[i].cast<Tensor>());
  });
}

struct GradFn {
  std::shared_ptr<tape::Node> node;
};

py::object grad_fn(const Tensor& t) {
  const tape::Edge e = tape::edge_of(t);
  if (!e.node || e.node->is_accumulator) return py::none();
  return py::cast(GradFn{e.node});
}

void check_first_order(bool create_graph) {
  SW_CHECK(!create_graph, "create_graph: second derivatives are not supported; gradients are computed without a graph");
}

}  // namespace

SW_BINDINGS(autograd) {
  py::class_<HookHandle>(m, "RemovableHandle", "What registering a hook returns.")
      .def("remove", &HookHandle::remove, "Unregisters the hook.")
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](HookHandle& self, const py::args&) { self.remove(); });
  py::class_<GradFn>(m, "Node", "The op that made a tensor, as recorded on the tape.")
      .def(
          "name", [](const GradFn& f) { return f.node->name; }, "The op's name.")
      .def_property_readonly(
          "next_functions",
          [](const GradFn& f) {
            py::list out;
            for (const auto& e : f.node->edges) {
              out.append(py::make_tuple(e.node ? py::cast(GradFn{e.node}) : py::object(py::none()), e.output));
            }
            return py::tuple(out);
          },
          "(node, which of its outputs) for each input of the op; None where the input has no history.")
      .def("__repr__", [](const GradFn& f) { return "<" + std::string(f.node->name) + ">"; });

  m.def(
      "_backward",
      [](const std::vector<Tensor>& tensors, const std::vector<Tensor>& grads, bool retain_graph, bool create_graph,
         const std::vector<Tensor>& inputs) {
        check_first_order(create_graph);
        if (inputs.empty()) {
          tape::backward(tensors, grads, {}, {retain_graph, true});
          return;
        }
        const auto found = tape::backward(tensors, grads, inputs, {retain_graph, false});
        for (size_t i = 0; i < inputs.size(); ++i) {
          if (!found[i].defined()) continue;
          const Tensor old = tape::grad_of(inputs[i]);
          tape::set_grad(inputs[i], old.defined() ? tape::accumulate(old, found[i], false) : found[i]);
        }
      },
      py::call_guard<py::gil_scoped_release>(), "tensors"_a, "grads"_a, "retain_graph"_a, "create_graph"_a, "inputs"_a);
  m.def(
      "_grad",
      [](const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs, const std::vector<Tensor>& grads,
         bool retain_graph, bool create_graph) {
        check_first_order(create_graph);
        return tape::backward(outputs, grads, inputs, {retain_graph, false});
      },
      py::call_guard<py::gil_scoped_release>(), "outputs"_a, "inputs"_a, "grads"_a, "retain_graph"_a, "create_graph"_a);
  m.def("_record_python", &record_python, "name"_a, "outputs"_a, "inputs"_a, "backward"_a);

  plain_method(
      m, "register_hook", [](const Tensor& t, const py::object& hook) { return add_hook(tape::hooks_of(t), hook); },
      "self"_a, "hook"_a,
      "Calls hook(grad) when backward() has this tensor's gradient; what it returns, unless None, replaces the "
      "gradient. "
      "Returns a handle with remove().");
  plain_method(
      m, "register_post_accumulate_grad_hook", &after_accumulate, "self"_a, "hook"_a,
      "Calls hook(tensor) after backward() has added to the .grad of this leaf. Returns a handle with remove().");
  plain_method(m, "retain_grad", &tape::retain_grad,
               "Asks backward() to keep the gradient of a tensor that is no leaf in .grad.");
  plain_method(m, "_grad_fn", &grad_fn);
  plain_method(m, "detach", [](const Tensor& t) { return t.alias(); }, "A tensor on the same memory, without history.");
  plain_method(
      m, "detach_",
      [](const Tensor& t) {
        t.impl()->autograd = nullptr;
        t.impl()->requires_grad = false;
        return t;
      },
      "Takes the tensor out of its history and returns it; it requires no gradient any more.");
  plain_method(
      m, "requires_grad_",
      [](const Tensor& t, bool on) {
        tape::set_requires_grad(t, on);
        return t;
      },
      "self"_a, "requires_grad"_a = true,
      "Sets requires_grad and returns the tensor. RuntimeError for integers, and for False on the result of an op.");
}

}  // namespace skipway::bindings

// The Python type skipway.Tensor: a hand-made type, because every op returns one. A TensorImpl knows its live wrapper,
// so that the same tensor is the same Python object (`x.relu_() is x`, `p.grad is p.grad`).
#include "autograd/tape.h"
#include "bindings/bindings.h"

#include <structmember.h>  // after Python.h

namespace skipway::bindings {
namespace {

struct TensorObject {
  PyObject_HEAD Tensor tensor;
  PyObject* weak_references;
};

PyTypeObject* type = nullptr;
py::handle size_type;  // skipway.Size, a tuple

TensorObject* as_object(PyObject* o) { return reinterpret_cast<TensorObject*>(o); }

PyObject* tensor_new(PyTypeObject* subtype, PyObject*, PyObject*) {
  PyObject* self = subtype->tp_alloc(subtype, 0);
  if (self) new (&as_object(self)->tensor) Tensor();
  return self;
}

void tensor_dealloc(PyObject* self) {
  TensorObject* object = as_object(self);
  if (object->weak_references) PyObject_ClearWeakRefs(self);
  if (object->tensor.defined() && object->tensor.impl()->python == self) object->tensor.impl()->python = nullptr;
  object->tensor.~Tensor();
  PyTypeObject* t = Py_TYPE(self);
  t->tp_free(self);
  Py_DECREF(t);
}

// Calls f with C++ exceptions turned into Python's.
template <class F>
PyObject* guarded(F&& f) {
  try {
    return f();
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const Error& e) {
    set_python_error(e);
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

const Tensor& get(PyObject* self) {
  const Tensor& t = as_object(self)->tensor;
  if (!t.defined()) throw TypeError("the tensor was not initialised: a subclass must call super().__init__(data)");
  return t;
}

// Tensor(other): a new handle on the same memory, without history. What else torch.Tensor takes is in Python.
int tensor_init(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* source = nullptr;
  static const char* names[] = {"data", nullptr};
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Tensor", const_cast<char**>(names), &source)) return -1;
  Tensor t;
  if (!unwrap(source, t)) {
    PyErr_Format(PyExc_TypeError, "Tensor: expected a skipway.Tensor, got %s; use skipway.tensor(data)",
                 Py_TYPE(source)->tp_name);
    return -1;
  }
  Tensor& mine = as_object(self)->tensor;
  if (mine.defined() && mine.impl()->python == self) mine.impl()->python = nullptr;
  mine = t.alias();
  mine.impl()->python = self;
  return 0;
}

PyObject* wrap_size(const Shape& shape) {
  py::object tuple = py::cast(shape);
  return size_type ? PyObject_CallFunctionObjArgs(size_type.ptr(), tuple.ptr(), nullptr) : tuple.release().ptr();
}

#define GETTER(name, expression)                \
  PyObject* get_##name(PyObject* self, void*) { \
    return guarded([&]() -> PyObject* {         \
      const Tensor& t = get(self);              \
      return expression;                        \
    });                                         \
  }
GETTER(shape, wrap_size(t.shape()))
GETTER(dtype, wrap_dtype(t.dtype()))
GETTER(device, wrap_device(t.device()))
GETTER(ndim, PyLong_FromLong(t.dim()))
GETTER(requires_grad, PyBool_FromLong(t.requires_grad()))
GETTER(is_leaf, PyBool_FromLong(tape::is_leaf(t)))
GETTER(grad, wrap(tape::grad_of(t)))
GETTER(data, wrap(t.alias()))
GETTER(version, PyLong_FromUnsignedLongLong(t.version()))
GETTER(is_cuda, PyBool_FromLong(!t.device().is_cpu()))
#undef GETTER

template <class F>
int guarded_set(F&& f) {
  return guarded([&]() -> PyObject* { return f(), Py_None; }) ? 0 : -1;
}

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  return guarded_set([&] { tape::set_requires_grad(get(self), value && PyObject_IsTrue(value) == 1); });
}

int set_grad(PyObject* self, PyObject* value, void*) {
  return guarded_set([&] {
    Tensor grad;
    SW_CHECK_TYPE(!value || value == Py_None || unwrap(value, grad), "grad: expected a Tensor or None, got ",
                  Py_TYPE(value)->tp_name);
    tape::set_grad(get(self), grad);
  });
}

// x.data = y: x becomes y's memory, shape and dtype; its autograd state stays.
int set_data(PyObject* self, PyObject* value, void*) {
  return guarded_set([&] {
    Tensor source;
    SW_CHECK_TYPE(value && unwrap(value, source), "data: expected a Tensor");
    TensorImpl* impl = get(self).impl();
    SW_CHECK_TYPE(!impl->requires_grad || is_floating(source.dtype()),
                  "data: the tensor requires grad, so its dtype must be "
                  "floating, got ",
                  source.dtype());
    impl->storage = source.storage();
    impl->shape = source.shape();
    impl->strides = source.strides();
    impl->offset = source.offset();
    impl->dtype = source.dtype();
    if (impl->autograd) impl->autograd->accumulator.reset();  // it knows the old shape
  });
}

PyGetSetDef getset[] = {{"shape", get_shape, nullptr, "The sizes of the dimensions.", nullptr},
                        {"dtype", get_dtype, nullptr, "The element type.", nullptr},
                        {"device", get_device, nullptr, "Where the memory is.", nullptr},
                        {"ndim", get_ndim, nullptr, "The number of dimensions.", nullptr},
                        {"requires_grad", get_requires_grad, set_requires_grad,
                         "Does backward() compute a gradient for this tensor?", nullptr},
                        {"is_leaf", get_is_leaf, nullptr, "True for tensors that no recorded op made.", nullptr},
                        {"grad", get_grad, set_grad, "The gradient that backward() has accumulated, or None.", nullptr},
                        {"data", get_data, set_data, "The same memory without history.", nullptr},
                        {"_version", get_version, nullptr, "How often the memory was changed in place.", nullptr},
                        {"is_cuda", get_is_cuda, nullptr, "Is the tensor on a GPU?", nullptr},
                        {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(TensorObject, weak_references), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(tensor_new)},
    {Py_tp_init, reinterpret_cast<void*>(tensor_init)},
    {Py_tp_dealloc, reinterpret_cast<void*>(tensor_dealloc)},
    {Py_tp_getset, getset},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>("An n-dimensional array that may carry a gradient; a strided view of its memory.")},
    {0, nullptr}};
PyType_Spec spec = {"skipway.Tensor", sizeof(TensorObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

bool load_number(PyObject* object, Tensor& t) {
  const auto number = [&]<class T>(T value) {
    t = empty({}, dtype_of<T>);
    *t.data_as<T>() = value;
    t.impl()->weak = true;
    return true;
  };
  if (PyBool_Check(object)) return number(object == Py_True);
  if (PyFloat_Check(object)) return number(PyFloat_AS_DOUBLE(object));
  if (!PyLong_Check(object)) return false;
  int overflow;
  const long long v = PyLong_AsLongLongAndOverflow(object, &overflow);
  SW_CHECK_VALUE(!overflow, "an integer does not fit into 64 bits");
  return number(int64_t(v));
}

}  // namespace

PyTypeObject* tensor_type() { return type; }

PyObject* wrap(const Tensor& t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (PyObject* live = static_cast<PyObject*>(t.impl()->python)) {
    Py_INCREF(live);
    return live;
  }
  PyObject* self = tensor_new(type, nullptr, nullptr);
  if (!self) throw py::error_already_set();
  as_object(self)->tensor = t;
  t.impl()->weak = false;
  t.impl()->python = self;
  return self;
}

bool unwrap(PyObject* object, Tensor& t) {
  if (!PyObject_TypeCheck(object, type)) return false;
  t = get(object);
  return true;
}

bool load_tensor(PyObject* object, bool convert, Tensor& t) {
  if (unwrap(object, t)) return true;
  if (object == Py_None) return t = Tensor(), true;
  if (!convert) return false;
  if (load_number(object, t)) return true;
  // A NumPy scalar: has an interface to its memory, but no length.
  if (!PyObject_HasAttrString(object, "__array_interface__") || PyObject_HasAttrString(object, "__setitem__"))
    return false;
  return load_number(py::object(py::handle(object).attr("item")()).ptr(), t);
}

void add_tensor_type(py::module_& m) {
  type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  m.attr("Tensor") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(type));
  m.def(
      "_set_size_type", [](py::object t) { size_type = t.release(); }, "type"_a,
      "Tells the core of the Python class skipway.Size.");
}

}  // namespace skipway::bindings

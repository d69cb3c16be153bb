// How C++ ops become Python functions and Tensor methods.
//
//   SW_BINDINGS(activation) {                       // in bindings/activation.cpp; runs when the module is imported
//     function(m, "softmax", &softmax, "input"_a, "dim"_a = -1);      // skipway._core.softmax
//     both(m, "relu", &relu, "input"_a);                              // the same, and Tensor.relu
//     method(m, "clamp_", &clamp_, "self"_a, "min"_a, "max"_a);       // Tensor.clamp_ only; names, if any, start with
//     self
//   }
//
// The GIL is released while the function runs; code that touches Python objects takes it (py::gil_scoped_acquire), or
// is bound with m.def / plain_method. A Tensor parameter takes None (an undefined tensor), a skipway.Tensor, or a
// number (a 0-dim tensor with weak() set: it takes part in type promotion by its kind only). A Shape takes an int or a
// sequence.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/tensor.h"

namespace py = pybind11;

namespace skipway::bindings {
using namespace pybind11::literals;

PyTypeObject* tensor_type();               // skipway.Tensor
PyObject* wrap(const Tensor& t);           // new reference; the live wrapper of t if it has one; None if undefined
bool unwrap(PyObject* object, Tensor& t);  // false unless it is a skipway.Tensor
bool load_tensor(PyObject* object, bool convert, Tensor& t);
bool load_shape(PyObject* object, Shape& shape);
bool load_dtype(PyObject* object, DType& dtype);  // skipway.dtype, NumPy's, or Python's float, int, bool
PyObject* wrap_dtype(DType dtype);
bool load_device(PyObject* object, Device& device);  // "cpu", skipway.device, int (cuda index)
PyObject* wrap_device(Device device);
Shape shape_from_args(const py::args& args, const char* op);  // x.view(2, 3) and x.view((2, 3))
void add_method(const char* name, py::object function);
void set_python_error(const Error& e);  // the Python exception for a C++ one

using Register = void (*)(py::module_&);
int register_bindings(Register f);
#define SW_BINDINGS(family)                                                                   \
  static void bind_##family(pybind11::module_& m);                                            \
  static const int registered_##family = skipway::bindings::register_bindings(bind_##family); \
  static void bind_##family(pybind11::module_& m)

template <class F, class... Extra>
void function(py::module_& m, const char* name, F f, const Extra&... extra) {
  m.def(name, f, py::call_guard<py::gil_scoped_release>(), extra...);
}
template <class F, class... Extra>
void plain_method(py::module_& m, const char* name, F f, const Extra&... extra) {
  add_method(name, py::cpp_function(f, py::name(name), py::scope(m), py::sibling(py::none()), extra...));
}
template <class F, class... Extra>
void method(py::module_& m, const char* name, F f, const Extra&... extra) {
  plain_method(m, name, f, py::call_guard<py::gil_scoped_release>(), extra...);
}
template <class F, class... Extra>
void both(py::module_& m, const char* name, F f, const Extra&... extra) {
  function(m, name, f, extra...);
  add_method(name, m.attr(name));
}

}  // namespace skipway::bindings

namespace pybind11::detail {
template <>
struct type_caster<skipway::Tensor> {
  PYBIND11_TYPE_CASTER(skipway::Tensor, const_name("Tensor"));
  bool load(handle src, bool convert) { return skipway::bindings::load_tensor(src.ptr(), convert, value); }
  static handle cast(const skipway::Tensor& t, return_value_policy, handle) { return skipway::bindings::wrap(t); }
};
template <>
struct type_caster<skipway::Shape> {
  PYBIND11_TYPE_CASTER(skipway::Shape, const_name("int | Sequence[int]"));
  bool load(handle src, bool) { return skipway::bindings::load_shape(src.ptr(), value); }
  static handle cast(const skipway::Shape& s, return_value_policy, handle) {
    tuple t(size_t(s.size()));
    for (int i = 0; i < s.size(); ++i) t[size_t(i)] = s[i];
    return t.release();
  }
};
template <>
struct type_caster<skipway::DType> {
  PYBIND11_TYPE_CASTER(skipway::DType, const_name("dtype"));
  bool load(handle src, bool) { return skipway::bindings::load_dtype(src.ptr(), value); }
  static handle cast(skipway::DType d, return_value_policy, handle) { return skipway::bindings::wrap_dtype(d); }
};
template <>
struct type_caster<skipway::Device> {
  PYBIND11_TYPE_CASTER(skipway::Device, const_name("device"));
  bool load(handle src, bool) { return skipway::bindings::load_device(src.ptr(), value); }
  static handle cast(skipway::Device d, return_value_policy, handle) { return skipway::bindings::wrap_device(d); }
};
}  // namespace pybind11::detail

// The extension module skipway._core: exceptions and process-wide settings here; each op family adds itself.
#include "autograd/tape.h"
#include "bindings/bindings.h"
#include "core/deferred.h"
#include "core/memory_guard.h"
#include "core/parallel.h"
#include "core/storage.h"
#include "kernels/isa_level.h"

namespace skipway::bindings {

void add_dtypes(py::module_& m);       // dtype_device.cpp
void add_devices(py::module_& m);      // dtype_device.cpp
void add_tensor_type(py::module_& m);  // tensor_type.cpp

namespace {

std::vector<Register>& registry() {
  static std::vector<Register> list;
  return list;
}

py::handle shape_error, device_error, memory_error;

// Python exceptions for the classes of core/check.h.
void add_exceptions(py::module_& m) {
  const auto add = [&](const char* name, PyObject* base, const char* doc) {
    const std::string full = std::string("skipway.") + name;
    py::object type = py::reinterpret_steal<py::object>(PyErr_NewExceptionWithDoc(full.c_str(), doc, base, nullptr));
    m.attr(name) = type;
    return type.release();
  };
  shape_error =
      add("ShapeError", PyExc_ValueError,
          "A shape, a number of dimensions or a size does not fit the op; the message names the op, its argument,\n"
          "what it got and what it expected, and the layer in whose forward() it happened.");
  device_error = add("DeviceError", PyExc_RuntimeError,
                     "A device does not exist, is not supported by this build, or is not the one that an op needs.");
  memory_error = add("OutOfMemoryError", PyExc_RuntimeError,
                     "The system refused memory for a tensor; the message says how many bytes were asked for.");
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      set_python_error(e);
    }
  });
}

void poll_signals() {
  if (!Py_IsInitialized()) return;
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

py::dict stats_dict(Device device) {
  const MemoryStats s = memory_stats(device);
  py::dict out;
  out["allocated_bytes"] = s.allocated_bytes;
  out["max_allocated_bytes"] = s.max_allocated_bytes;
  out["reserved_bytes"] = s.reserved_bytes;
  out["max_reserved_bytes"] = s.max_reserved_bytes;
  out["allocations"] = s.allocations;
  out["cache_hits"] = s.cache_hits;
  return out;
}

void add_settings(py::module_& m) {
  m.def("get_num_threads", &num_threads, "The number of threads that kernels use.");
  m.def("set_num_threads", &set_num_threads, "n"_a, py::call_guard<py::gil_scoped_release>(),
        "Sets the number of threads that kernels use (1 to 256). Results do not depend on it.");
  m.def("get_isa", [] { return name_of(current_level()); }, "The instruction set whose kernels run.");
  m.def("best_isa", [] { return name_of(best_level()); }, "The widest instruction set that this CPU runs.");
  m.def(
      "set_isa",
      [](const std::string& name) {
        const Level level = parse_level(name.c_str());
        settle_all({});
        set_level(level);
      },
      "name"_a, "Chooses the kernels' instruction set: baseline, avx2, avx512, avx512_bf16 or amx.");
  m.def("_assume_tiles", &assume_tiles, "Lets set_isa choose amx where the tests emulate its instructions.");
  m.def("_deferral", &deferral_enabled, "Do norms, sums and activations wait until they are read?");
  m.def("_waits", [](const Tensor& t) { return t.storage()->pending.load(); }, "input"_a, "Is t yet to be computed?");
  m.def("_set_deferral", &set_deferral_enabled, "on"_a, "Results do not depend on it.");
  m.def("memory_stats", &stats_dict, "device"_a = Device{},
        "Bytes in use by tensors and held from the system, now and at most, and calls of the allocator.");
  m.def("reset_peak_memory_stats", &reset_peak_memory_stats, "device"_a = Device{},
        "Sets the peaks to the present values.");
  m.def("empty_cache", &empty_cache, "device"_a = Device{}, "Gives cached memory back to the system.");
  m.def("_set_memory_guard", &set_memory_guard, "mode"_a);
  m.def("_memory_guard_errors", &memory_guard_errors);
  m.def("is_grad_enabled", &tape::grad_enabled, "Is the tape recording in this thread?");
  m.def("_set_grad_enabled", &tape::set_grad_enabled, "mode"_a);
  m.def("_compiler", [] { return __VERSION__; });
}

}  // namespace

int register_bindings(Register f) {
  registry().push_back(f);
  return 0;
}

void set_python_error(const Error& e) {
  const auto is = [&]<class T>(Type<T>) { return dynamic_cast<const T*>(&e) != nullptr; };
  PyObject* type = is(Type<ShapeError>{})         ? shape_error.ptr()
                   : is(Type<DeviceError>{})      ? device_error.ptr()
                   : is(Type<OutOfMemoryError>{}) ? memory_error.ptr()
                   : is(Type<ValueError>{})       ? PyExc_ValueError
                   : is(Type<TypeError>{})        ? PyExc_TypeError
                   : is(Type<IndexError>{})       ? PyExc_IndexError
                                                  : PyExc_RuntimeError;
  PyErr_SetString(type, e.what());
}

bool load_shape(PyObject* object, Shape& shape) {
  shape = Shape();
  const auto push = [&](PyObject* item) {
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(item));
    if (!index) return PyErr_Clear(), false;
    const int64_t v = PyLong_AsLongLong(index.ptr());
    if (v == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      throw ValueError("a size or dimension does not fit into 64 bits");
    }
    shape.push_back(v);
    return true;
  };
  if (PyTuple_Check(object) || PyList_Check(object)) {
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(object);
    for (Py_ssize_t i = 0; i < n; ++i)
      if (!push(PySequence_Fast_GET_ITEM(object, i))) return false;
    return true;
  }
  Tensor t;
  return PyIndex_Check(object) && !unwrap(object, t) && push(object);
}

Shape shape_from_args(const py::args& args, const char* op) {
  Shape shape;
  const bool one = args.size() == 1 && (PyTuple_Check(args[0].ptr()) || PyList_Check(args[0].ptr()));
  const py::object source = one ? py::object(args[0]) : py::object(args);
  SW_CHECK_TYPE(load_shape(source.ptr(), shape), op, ": expected integers or a sequence of integers, got ",
                py::repr(source).cast<std::string>());
  return shape;
}

void add_method(const char* name, py::object function) {
  if (!PyInstanceMethod_Check(function.ptr())) {
    function = py::reinterpret_steal<py::object>(PyInstanceMethod_New(function.ptr()));
  }
  PyObject* type = reinterpret_cast<PyObject*>(tensor_type());
  if (PyObject_SetAttrString(type, name, function.ptr()) != 0) throw py::error_already_set();
}

}  // namespace skipway::bindings

PYBIND11_MODULE(_core, m) {
  using namespace skipway::bindings;
  m.doc() = "The compiled core of skipway: tensors, autograd and every op.";
  add_exceptions(m);
  add_dtypes(m);
  add_devices(m);
  add_tensor_type(m);
  add_settings(m);
  for (const Register f : registry()) f(m);
  skipway::set_interrupt_poll(poll_signals);
}

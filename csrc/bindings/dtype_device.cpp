// skipway.dtype and skipway.device, and how arguments become them.
#include "bindings/bindings.h"

namespace skipway::bindings {
namespace {

struct DTypeObject {
  DType value;
};
py::handle dtype_objects[kNumDTypes];

struct DeviceObject {
  Device value;
};

py::object numpy_dtype(DType d) {
  const py::object make = py::module_::import("numpy").attr("dtype");
  return d == DType::BFloat16 ? make(py::module_::import("ml_dtypes").attr("bfloat16")) : make(name_of(d));
}

Device cuda(int64_t index) {
  if (index < 0 || index > 127) throw DeviceError(concat("device: expected a CUDA index from 0 to 127, got ", index));
  return Device{DeviceType::CUDA, int8_t(index)};
}

DeviceObject make_device(const py::object& type, std::optional<int64_t> index) {
  Device d;
  SW_CHECK_TYPE(!type.is_none() && load_device(type.ptr(), d), "device: expected a string, an index or a device, got ",
                py::repr(type).cast<std::string>());
  return {index && !d.is_cpu() ? cuda(*index) : d};
}

}  // namespace

void add_dtypes(py::module_& m) {
  py::class_<DTypeObject>(m, "dtype", "The element type of a tensor: skipway.float32, skipway.int64, ...")
      .def_property_readonly(
          "name", [](const DTypeObject& d) { return name_of(d.value); }, "Such as \"float32\".")
      .def_property_readonly(
          "itemsize", [](const DTypeObject& d) { return size_of(d.value); }, "Bytes per element.")
      .def_property_readonly(
          "is_floating_point", [](const DTypeObject& d) { return is_floating(d.value); },
          "True for float64, float32 and bfloat16.")
      .def_property_readonly(
          "is_complex", [](const DTypeObject&) { return false; }, "False: no dtype is complex.")
      .def_property_readonly(
          "is_signed", [](const DTypeObject& d) { return d.value != DType::Bool && d.value != DType::UInt8; },
          "False for bool and uint8.")
      .def_property_readonly(
          "dtype", [](const DTypeObject& d) { return numpy_dtype(d.value); },
          "The NumPy dtype; lets NumPy take this object where it takes a dtype.")
      .def("__repr__", [](const DTypeObject& d) { return std::string("skipway.") + name_of(d.value); })
      .def("__copy__", [](py::object d) { return d; })
      .def("__deepcopy__", [](py::object d, py::object) { return d; })
      .def("__reduce__", [](const DTypeObject& d) { return py::str(name_of(d.value)); });  // a global of this module
  for (int i = 0; i < kNumDTypes; ++i) {
    py::object object = py::cast(DTypeObject{DType(i)});
    m.attr(name_of(DType(i))) = object;
    dtype_objects[i] = object.release();
  }
}

void add_devices(py::module_& m) {
  py::class_<DeviceObject>(m, "device",
                           "Where a tensor lives: device(\"cpu\"), device(\"cuda\", 0), device(\"cuda:0\").")
      .def(py::init(&make_device), "type"_a, "index"_a = py::none())
      .def_property_readonly(
          "type", [](const DeviceObject& d) { return d.value.is_cpu() ? "cpu" : "cuda"; }, "\"cpu\" or \"cuda\".")
      .def_property_readonly(
          "index",
          [](const DeviceObject& d) {
            return d.value.is_cpu() ? py::object(py::none()) : py::object(py::int_(int(d.value.index)));
          },
          "Which of the GPUs; None for the CPU.")
      .def("__eq__",
           [](const DeviceObject& a, const py::object& b) {
             return py::isinstance<DeviceObject>(b) && a.value == py::cast<const DeviceObject&>(b).value;
           })
      .def("__hash__", [](const DeviceObject& d) { return int(d.value.type) * 256 + d.value.index; })
      .def("__str__", [](const DeviceObject& d) { return d.value.str(); })
      .def("__repr__",
           [](const DeviceObject& d) {
             return d.value.is_cpu() ? std::string("device(type='cpu')")
                                     : "device(type='cuda', index=" + std::to_string(d.value.index) + ")";
           })
      .def("__reduce__", [](const DeviceObject& d) {
        return py::make_tuple(py::type::of<DeviceObject>(), py::make_tuple(d.value.str()));
      });
}

bool load_dtype(PyObject* object, DType& dtype) {
  for (int i = 0; i < kNumDTypes; ++i)
    if (object == dtype_objects[i].ptr()) return dtype = DType(i), true;
  const auto is = [&](PyTypeObject* t) { return object == reinterpret_cast<PyObject*>(t); };
  if (is(&PyFloat_Type)) return dtype = DType::Float32, true;
  if (is(&PyLong_Type)) return dtype = DType::Int64, true;
  if (is(&PyBool_Type)) return dtype = DType::Bool, true;
  if (object == Py_None || PyLong_Check(object)) return false;
  try {
    const py::object np = py::module_::import("numpy").attr("dtype")(py::handle(object));
    const std::string name = np.attr("name").cast<std::string>();
    for (int i = 0; i < kNumDTypes; ++i)
      if (name == name_of(DType(i))) return dtype = DType(i), true;
    throw TypeError(concat("dtype: ", name,
                           " is not supported; skipway has float64, float32, bfloat16, int64, int32, uint8, bool"));
  } catch (py::error_already_set&) {
    return false;
  }
}

PyObject* wrap_dtype(DType dtype) {
  PyObject* object = dtype_objects[int(dtype)].ptr();
  Py_INCREF(object);
  return object;
}

bool load_device(PyObject* object, Device& device) {
  if (object == Py_None) return device = Device{}, true;
  if (PyUnicode_Check(object)) return device = Device::parse(py::handle(object).cast<std::string>()), true;
  if (PyLong_Check(object) && !PyBool_Check(object)) return device = cuda(PyLong_AsLong(object)), true;
  if (!py::isinstance<DeviceObject>(object)) return false;
  return device = py::cast<const DeviceObject&>(py::handle(object)).value, true;
}

PyObject* wrap_device(Device device) { return py::cast(DeviceObject{device}).release().ptr(); }

}  // namespace skipway::bindings

// Tensors to and from NumPy arrays and DLPack capsules, without copies where the layout allows.
#include <pybind11/numpy.h>

#include "bindings/bindings.h"
#include "core/cuda.h"
#include "ops/conv_packed.h"
#include "ops/copy.h"

namespace skipway::bindings {
namespace {

// Keeps a Python object alive as long as the storage that borrows its memory.
StoragePtr borrow(void* data, size_t bytes, py::object owner) {
  auto storage = std::make_shared<Storage>();
  storage->data = data;
  storage->bytes = bytes;
  storage->release = [object = owner.release().ptr()] {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    Py_DECREF(object);
  };
  return storage;
}

// Strides in elements, or false when a tensor cannot have them.
bool element_strides(const py::array& a, Shape& strides) {
  strides = Shape();
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    const py::ssize_t s = a.strides(i);
    if (a.shape(i) > 1 && (s < 0 || s % a.itemsize() != 0)) return false;
    strides.push_back(a.shape(i) > 1 ? s / a.itemsize() : 1);
  }
  return reinterpret_cast<uintptr_t>(a.data()) %
             size_t(std::max<py::ssize_t>(1, std::min<py::ssize_t>(8, a.itemsize()))) ==
         0;
}

Tensor from_numpy(py::array array) {
  DType dtype;
  SW_CHECK_TYPE(load_dtype(array.dtype().ptr(), dtype), "from_numpy: dtype ",
                py::str(array.dtype()).cast<std::string>(), " is not supported");
  SW_CHECK_SHAPE(array.ndim() <= kMaxDims, "from_numpy: expected at most ", kMaxDims, " dimensions, got ",
                 array.ndim());
  Shape shape, strides;
  const bool native = array.dtype().attr("isnative").cast<bool>();
  if (!native || !array.writeable() || !element_strides(array, strides)) {
    const py::object np = py::module_::import("numpy");
    array =
        np.attr("array")(array, "dtype"_a = array.dtype().attr("newbyteorder")("="), "order"_a = "C", "copy"_a = true);
    element_strides(array, strides);
  }
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.push_back(array.shape(i));
  if (shape.numel() == 0) return empty(shape, dtype);
  void* data = array.mutable_data();
  const size_t bytes = size_t(array.nbytes());
  return Tensor(borrow(data, bytes, std::move(array)), shape, strides, 0, dtype);
}

py::object numpy_dtype(DType d) { return py::reinterpret_steal<py::object>(wrap_dtype(d)).attr("dtype"); }

// Waits for kernels that read the memory; these take the GIL now and then, to look for signals.
void* shared_address(const Tensor& t) {
  const py::gil_scoped_release released;
  share_memory(t.storage());
  return t.data();
}

py::array to_numpy(const Tensor& t) {
  SW_CHECK_TYPE(t.device().is_cpu(), "numpy: expected a tensor on the CPU, got ", t.device(), "; call .cpu() first");
  std::vector<py::ssize_t> shape, strides;
  for (int i = 0; i < t.dim(); ++i) {
    shape.push_back(t.shape()[i]);
    strides.push_back(t.strides()[i] * size_of(t.dtype()));
  }
  void* const address = shared_address(t);
  const py::capsule owner(new StoragePtr(t.storage()), [](void* p) { delete static_cast<StoragePtr*>(p); });
  return py::array(py::dtype(py::reinterpret_borrow<py::dtype>(numpy_dtype(t.dtype()))), shape, strides, address,
                   owner);
}

py::array numpy_method(const Tensor& t, bool force) {
  SW_CHECK(force || !t.requires_grad(), "numpy: the tensor requires grad; use detach().numpy()");
  return to_numpy(force && !t.device().is_cpu() ? on_cpu(t) : t);
}

py::object array_protocol(const Tensor& t, const py::object& dtype, const py::object& copy) {
  SW_CHECK(!t.requires_grad(), "numpy: the tensor requires grad; use detach().numpy()");
  py::object array = to_numpy(t);
  if (!dtype.is_none()) return array.attr("astype")(dtype, "copy"_a = !copy.is_none() && copy.cast<bool>());
  return !copy.is_none() && copy.cast<bool>() ? array.attr("copy")() : array;
}

// ---- DLPack, the layout of version 1.0 (https://dmlc.github.io/dlpack/latest/c_api.html) ---------------------------
struct DLDevice {
  int32_t device_type, device_id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
enum DLDeviceType : int32_t { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3 };
constexpr uint64_t kReadOnly = 1;
enum DLCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

DLDataType to_dl(DType d) {
  const uint8_t code = d == DType::Bool       ? kBool
                       : d == DType::UInt8    ? kUInt
                       : d == DType::BFloat16 ? kBfloat
                       : is_floating(d)       ? kFloat
                                              : kInt;
  return {code, uint8_t(8 * size_of(d)), 1};
}

DType from_dl(DLDataType d) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const DLDataType mine = to_dl(DType(i));
    if (mine.code == d.code && mine.bits == d.bits && d.lanes == 1) return DType(i);
  }
  throw TypeError(concat("from_dlpack: type code ", int(d.code), " with ", int(d.bits), " bits and ", d.lanes,
                         " lanes is not supported"));
}

template <class Managed>
struct Exported {
  Managed managed{};
  StoragePtr storage;
  Shape shape, strides;
};

DLDevice dl_device(const Tensor& t) {
  if (t.device().is_cpu()) return {kDLCPU, 0};
  return {kDLCUDA, t.device().index};
}

// The number of a CUDA stream in Python's protocols: 1 is the default stream, -1 asks for no order.
uintptr_t stream_number(const cuda::Stream& stream) {
  return stream.handle ? reinterpret_cast<uintptr_t>(stream.handle) : 1;
}

// Work on stream `later` starts after what is on `earlier` now.
void order_streams(int device, void* earlier, void* later) {
  if (earlier == later) return;
  cuda::current_stream(device);  // makes the device current
  void* const event = cuda::backend().create_event(device, false);
  cuda::backend().record_event(event, earlier);
  cuda::backend().wait_event(later, event);
  cuda::backend().destroy_event(event);
}

// A consumer will use the tensor on its stream.
void hand_to_stream(const Tensor& t, const py::object& stream) {
  if (t.device().is_cpu()) return;
  const int64_t number = stream.is_none() ? 1 : stream.cast<int64_t>();
  SW_CHECK_VALUE(number != 0 && number >= -1, "__dlpack__: expected stream to be None, -1, 1, 2 or a handle, got ",
                 number);
  if (number == -1) return;
  const int device = t.device().index;
  order_streams(device, cuda::current_stream(device).handle, number == 1 ? nullptr : reinterpret_cast<void*>(number));
}

template <class Managed>
py::object export_capsule(const Tensor& t, const char* name) {
  void* const address = shared_address(t);
  auto* e = new Exported<Managed>{{}, t.storage(), t.shape(), t.strides()};
  e->managed.tensor = {address, dl_device(t), t.dim(), to_dl(t.dtype()), e->shape.begin(), e->strides.begin(), 0};
  e->managed.context = e;
  e->managed.deleter = [](Managed* m) { delete static_cast<Exported<Managed>*>(m->context); };
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) e->managed.major = 1;
  return py::reinterpret_steal<py::object>(PyCapsule_New(&e->managed, name, [](PyObject* capsule) {
    const char* now = PyCapsule_GetName(capsule);  // "used_dltensor..." once a consumer has taken it
    if (!now || std::string(now).rfind("dltensor", 0) != 0) return;
    auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, now));
    m->deleter(m);
  }));
}

py::object dlpack(const Tensor& t, const py::object& stream, const py::object& max_version, const py::object& device,
                  const py::object& copy) {
  SW_CHECK(!t.requires_grad(), "__dlpack__: the tensor requires grad; export detach() instead");
  Tensor out = t;
  if (!device.is_none()) {
    const auto wanted = device.cast<std::pair<int, int>>();
    const DLDevice mine = dl_device(t);
    if (wanted.first == kDLCPU && mine.device_type == kDLCUDA) {
      SW_CHECK_VALUE(copy.is_none() || copy.cast<bool>(), "__dlpack__: the tensor is on ", t.device(),
                     ": the CPU's is a copy, and copy is False");
      out = on_cpu(t);
    } else {
      SW_CHECK_AS(DeviceError, wanted.first == mine.device_type && wanted.second == mine.device_id,
                  "__dlpack__: expected the CPU (1, 0) or the tensor's device (", mine.device_type, ", ",
                  mine.device_id, ") as dl_device, got (", wanted.first, ", ", wanted.second, ")");
    }
  }
  if (!copy.is_none() && copy.cast<bool>() && out.storage() == t.storage()) out = clone(t);
  hand_to_stream(out, stream);
  const bool versioned = !max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1;
  return versioned ? export_capsule<DLManagedTensorVersioned>(out, "dltensor_versioned")
                   : export_capsule<DLManagedTensor>(out, "dltensor");
}

template <class Managed>
Tensor import_capsule(const py::object& capsule, const char* name, const char* used) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (!m) throw py::error_already_set();
  const DLTensor& d = m->tensor;
  const bool on_host = d.device.device_type == kDLCPU || d.device.device_type == kDLCUDAHost;
  SW_CHECK_AS(DeviceError, on_host || d.device.device_type == kDLCUDA,
              "from_dlpack: expected memory of the CPU or of a CUDA device (device type 1, 2 or 3), got type ",
              d.device.device_type);
  SW_CHECK_SHAPE(d.ndim <= kMaxDims, "from_dlpack: expected at most ", kMaxDims, " dimensions, got ", d.ndim);
  const DType dtype = from_dl(d.dtype);
  const Shape shape(d.shape, d.ndim);
  const Shape strides = d.strides ? Shape(d.strides, d.ndim) : contiguous_strides(shape);
  for (int i = 0; i < d.ndim; ++i)
    SW_CHECK_VALUE(strides[i] >= 0, "from_dlpack: negative strides are not supported, got ", strides);
  auto storage = std::make_shared<Storage>();
  storage->data = static_cast<char*>(d.data) + d.byte_offset;
  if (!on_host) {
    storage->device = {DeviceType::CUDA, int8_t(d.device.device_id)};
    cuda::check_device(storage->device);
  }
  int64_t extent = shape.numel() ? 1 : 0;
  for (int i = 0; i < d.ndim && extent; ++i) extent += (shape[i] - 1) * strides[i];
  storage->bytes = size_t(extent * size_of(dtype));
  storage->release = [m] {
    if (!m->deleter || !Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;  // the producer may be Python
    m->deleter(m);
  };
  PyCapsule_SetName(capsule.ptr(), used);
  Tensor t(storage, shape, strides, 0, dtype);
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) {
    if (m->flags & kReadOnly) return clone(t);
  }
  return t;
}

Tensor from_dlpack(const py::object& source) {
  py::object capsule = source;
  if (!PyCapsule_CheckExact(source.ptr())) {
    SW_CHECK_TYPE(py::hasattr(source, "__dlpack__"), "from_dlpack: expected an object with __dlpack__, got ",
                  Py_TYPE(source.ptr())->tp_name);
    const py::object method = source.attr("__dlpack__");
    py::dict options;
    if (py::hasattr(source, "__dlpack_device__")) {
      const auto device = source.attr("__dlpack_device__")().cast<std::pair<int, int>>();
      if (device.first == kDLCUDA) {
        cuda::check_device({DeviceType::CUDA, int8_t(device.second)});
        options["stream"] = stream_number(cuda::current_stream(device.second));
      }
    }
    try {
      capsule = method(**options, "max_version"_a = py::make_tuple(1, 0));
    } catch (py::error_already_set& e) {
      if (!e.matches(PyExc_TypeError)) throw;
      capsule = method(**options);  // from before DLPack 1.0
    }
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    return import_capsule<DLManagedTensorVersioned>(capsule, "dltensor_versioned", "used_dltensor_versioned");
  }
  SW_CHECK_VALUE(PyCapsule_IsValid(capsule.ptr(), "dltensor"),
                 "from_dlpack: the capsule was used before, or is none of DLPack's");
  return import_capsule<DLManagedTensor>(capsule, "dltensor", "used_dltensor");
}

// ---- __cuda_array_interface__, version 3 (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html) ----
py::object cuda_array(const Tensor& t) {
  const auto fail = [](PyObject* type, const std::string& what) {
    PyErr_SetString(type, ("__cuda_array_interface__: " + what).c_str());
    throw py::error_already_set();
  };
  if (t.device().is_cpu()) fail(PyExc_AttributeError, "the tensor is on the CPU");
  if (t.requires_grad()) fail(PyExc_RuntimeError, "the tensor requires grad; export detach() instead");
  if (t.dtype() == DType::BFloat16) fail(PyExc_TypeError, "it has no bfloat16; use DLPack");
  py::dict out;
  py::object strides = py::none();
  if (!t.is_contiguous()) {
    Shape bytes = t.strides();
    for (int64_t& s : bytes) s *= size_of(t.dtype());
    strides = py::cast(bytes);
  }
  out["shape"] = py::cast(t.shape());
  out["strides"] = strides;
  out["typestr"] = numpy_dtype(t.dtype()).attr("str");
  out["data"] = py::make_tuple(t.numel() ? reinterpret_cast<uintptr_t>(t.data()) : 0, false);
  out["version"] = 3;
  out["stream"] = stream_number(cuda::current_stream(t.device().index));
  return out;
}

Tensor from_cuda_array(const py::object& source) {
  const py::dict info = source.attr("__cuda_array_interface__");
  DType dtype;
  const py::object type = py::module_::import("numpy").attr("dtype")(info["typestr"]);
  SW_CHECK_TYPE(load_dtype(type.ptr(), dtype), "as_tensor: dtype ", py::str(type).cast<std::string>(),
                " is not supported");
  const Shape shape = info["shape"].cast<Shape>();
  Shape strides = contiguous_strides(shape);
  if (info.contains("strides") && !info["strides"].is_none()) {
    const Shape bytes = info["strides"].cast<Shape>();
    for (int i = 0; i < shape.size(); ++i) {
      SW_CHECK_VALUE(bytes[i] >= 0 && bytes[i] % size_of(dtype) == 0, "as_tensor: strides of ", bytes,
                     " bytes are not supported");
      strides[i] = bytes[i] / size_of(dtype);
    }
  }
  const Device device{DeviceType::CUDA, int8_t(cuda::current_device())};
  if (shape.numel() == 0) return empty(shape, dtype, device);
  const cuda::Stream stream = cuda::current_stream(device.index);
  if (info.contains("stream") && !info["stream"].is_none()) {
    const auto number = info["stream"].cast<uintptr_t>();
    order_streams(device.index, number == 1 ? nullptr : reinterpret_cast<void*>(number), stream.handle);
  }
  int64_t extent = 1;
  for (int i = 0; i < shape.size(); ++i) extent += (shape[i] - 1) * strides[i];
  auto* data = reinterpret_cast<void*>(info["data"].cast<std::pair<uintptr_t, bool>>().first);
  const StoragePtr storage = borrow(data, size_t(extent * size_of(dtype)), source);
  storage->device = device;
  return Tensor(storage, shape, strides, 0, dtype);
}

}  // namespace

SW_BINDINGS(interop) {
  m.def("from_numpy", &from_numpy, "array"_a,
        "A tensor on the memory of a NumPy array; a copy where the array is read-only, byte-swapped or has negative "
        "strides.");
  m.def("from_dlpack", &from_dlpack, "ext_tensor"_a,
        "A tensor on the memory of any object with __dlpack__, on the CPU or a CUDA device.");
  m.def("_from_cuda_array", &from_cuda_array, "source"_a);
  plain_method(m, "_cuda_array_interface", &cuda_array);
  plain_method(m, "numpy", &numpy_method, "self"_a, py::kw_only(), "force"_a = false,
               "A NumPy array on the tensor's memory: a change of one shows in the other. An error where the tensor "
               "requires grad, unless force is true.");
  plain_method(m, "__array__", &array_protocol, "self"_a, "dtype"_a = py::none(), "copy"_a = py::none());
  plain_method(m, "__dlpack__", &dlpack, "self"_a, py::kw_only(), "stream"_a = py::none(), "max_version"_a = py::none(),
               "dl_device"_a = py::none(), "copy"_a = py::none());
  plain_method(m, "__dlpack_device__", [](const Tensor& t) {
    const DLDevice d = dl_device(t);
    return py::make_tuple(d.device_type, d.device_id);
  });
}

}  // namespace skipway::bindings

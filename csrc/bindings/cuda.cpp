// CUDA devices, streams, events and pinned memory; skipway.cuda gives them PyTorch's names.
#include "core/cuda.h"
#include "bindings/bindings.h"
#include "core/cuda_graph.h"
#include "core/cuda_memory.h"
#include "ops/copy.h"

namespace skipway::bindings {
namespace {

void* as_handle(uintptr_t handle) { return reinterpret_cast<void*>(handle); }
uintptr_t as_number(void* handle) { return reinterpret_cast<uintptr_t>(handle); }

// Makes the device exist and be current for the runtime; the library's reason where it does not.
cuda::Stream use(int device) {
  cuda::check_device({DeviceType::CUDA, int8_t(device)});
  return cuda::current_stream(device);
}

class Event {
 public:
  Event(int device, bool timing) : device_(device) {
    use(device);
    event_ = cuda::backend().create_event(device, timing);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() {
    try {
      cuda::backend().destroy_event(event_);
    } catch (const Error&) {  // the driver is gone
    }
  }
  int device() const { return device_; }
  void record(uintptr_t stream) {
    use(device_);
    cuda::backend().record_event(event_, as_handle(stream));
  }
  void wait(int device, uintptr_t stream) {  // the stream waits
    use(device);
    cuda::backend().wait_event(as_handle(stream), event_);
  }
  void synchronize() {
    cuda::not_in_capture("waiting for an event");
    cuda::backend().synchronize_event(event_);
  }
  bool done() {
    cuda::not_in_capture("asking whether an event is done");
    return cuda::backend().event_is_done(event_);
  }
  float elapsed_ms(Event& end) { return cuda::backend().elapsed_ms(event_, end.event_); }

 private:
  int device_;
  void* event_;
};

py::dict properties(int device) {
  use(device);
  const cuda::Properties p = cuda::backend().properties(device);
  py::dict out;
  out["name"] = p.name;
  out["major"] = p.major;
  out["minor"] = p.minor;
  out["multi_processor_count"] = p.multiprocessors;
  out["total_memory"] = p.total_memory;
  out["shared_memory_per_block_optin"] = p.shared_memory_per_block;
  out["L2_cache_size"] = p.l2_cache;
  return out;
}

py::dict counters(int device) {
  const cuda::MemoryCounters c = cuda::memory_counters(device);
  py::dict out;
  out["blocks"] = c.blocks;
  out["cached_blocks"] = c.cached_blocks;
  out["waiting_blocks"] = c.waiting_blocks;
  out["device_allocations"] = c.device_allocations;
  out["retries"] = c.retries;
  out["failures"] = c.failures;
  return out;
}

py::object reason() {
  std::string why;
  if (cuda::device_count(&why) > 0) return py::none();
  return py::str(why);
}

Tensor pin_memory(const Tensor& t) {
  check_defined("pin_memory", "self", t);
  SW_CHECK_AS(DeviceError, t.device().is_cpu(), "pin_memory: expected a tensor on the CPU, got one on ", t.device());
  cuda::backend();
  if (t.numel() == 0 || cuda::is_pinned(t.data())) return t;
  const Shape strides = t.is_dense() ? t.strides() : contiguous_strides(t.shape());
  const Tensor pinned(cuda::allocate_pinned(size_t(t.numel() * size_of(t.dtype()))), t.shape(), strides, 0, t.dtype());
  copy_into(pinned, t);
  return pinned;
}

void record_stream(const Tensor& t, uintptr_t stream) {
  SW_CHECK_AS(DeviceError, !t.device().is_cpu(),
              "record_stream: expected a tensor on a CUDA device, got one on the CPU");
  Storage& storage = *t.storage();
  void* const memory = storage.address();
  if (!storage.release && storage.stream != as_handle(stream))
    cuda::record_use(storage.device.index, memory, as_handle(stream));
}

void add_devices_and_memory(py::module_& m) {
  m.def("_cuda_device_count", [] { return cuda::device_count(); });
  m.def("_cuda_reason", &reason, "Why there is no CUDA device; None if there is one.");
  m.def("_cuda_emulated", [] { return cuda::backend().emulated(); });
  m.def("_cuda_description", [] { return cuda::backend().description(); });
  m.def("_cuda_current_device", &cuda::current_device);
  m.def("_cuda_set_device", &cuda::set_current_device, "device"_a);
  m.def("_cuda_properties", &properties, "device"_a);
  m.def(
      "_cuda_synchronize",
      [](int device) {
        use(device);
        cuda::synchronize(device);
      },
      "device"_a, py::call_guard<py::gil_scoped_release>());
  m.def(
      "_cuda_memory_info",
      [](int device) {
        use(device);
        size_t free = 0, total = 0;
        cuda::backend().memory_info(device, &free, &total);
        return std::pair<size_t, size_t>(free, total);
      },
      "device"_a);
  m.def("_cuda_memory_counters", &counters, "device"_a);
  method(m, "_pin_memory", &pin_memory, "self"_a);
  plain_method(m, "_is_pinned", [](const Tensor& t) { return t.device().is_cpu() && cuda::is_pinned(t.data()); });
  plain_method(m, "_record_stream", &record_stream, "self"_a, "stream"_a);
}

void add_streams_and_events(py::module_& m) {
  m.def("_cuda_current_stream", [](int device) { return as_number(use(device).handle); }, "device"_a);
  m.def(
      "_cuda_set_stream", [](int device, uintptr_t stream) { cuda::set_current_stream(device, as_handle(stream)); },
      "device"_a, "stream"_a);
  m.def(
      "_cuda_create_stream",
      [](int device, int priority) {
        use(device);
        return as_number(cuda::backend().create_stream(device, priority));
      },
      "device"_a, "priority"_a);
  m.def(
      "_cuda_synchronize_stream",
      [](int device, uintptr_t stream) { cuda::synchronize_stream(device, as_handle(stream)); }, "device"_a, "stream"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "_cuda_stream_is_done",
      [](int device, uintptr_t stream) {
        use(device);
        cuda::not_in_capture("asking whether a stream is done");
        return cuda::backend().stream_is_done(as_handle(stream));
      },
      "device"_a, "stream"_a);
  py::class_<Event>(m, "_CudaEvent")
      .def(py::init<int, bool>(), "device"_a, "timing"_a)
      .def_property_readonly("device", &Event::device)
      .def("record", &Event::record, "stream"_a)
      .def("wait", &Event::wait, "device"_a, "stream"_a)
      .def("synchronize", &Event::synchronize, py::call_guard<py::gil_scoped_release>())
      .def("done", &Event::done)
      .def("elapsed_ms", &Event::elapsed_ms, "end"_a);
}

void add_graphs(py::module_& m) {
  using cuda::Graph;
  const py::call_guard<py::gil_scoped_release> released;
  py::class_<Graph>(m, "_CudaGraph", "A captured step; see csrc/core/cuda_graph.h.")
      .def(py::init<int>(), "device"_a)
      .def_property_readonly("nodes", &Graph::nodes)
      .def("begin", &Graph::begin, released)
      .def("end", &Graph::end, released)
      .def("abandon", &Graph::abandon)
      .def("refresh", &Graph::refresh)
      .def("launch", &Graph::launch, released)
      .def("cancel", &Graph::cancel);
  m.def("_cuda_capturing", [] { return cuda::capturing() != nullptr; });
}

}  // namespace

SW_BINDINGS(cuda) {
  add_graphs(m);
  add_devices_and_memory(m);
  add_streams_and_events(m);
}

}  // namespace skipway::bindings

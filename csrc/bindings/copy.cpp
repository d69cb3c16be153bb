#include "ops/copy.h"

#include "bindings/bindings.h"
#include "ops/cast.h"

namespace skipway::bindings {
namespace {

bool is_channels_last_format(const py::object& format) {
  return !format.is_none() && std::string(py::str(format)).find("channels_last") != std::string::npos;
}

Tensor contiguous_as(const Tensor& x, const py::object& format) {
  const bool last = is_channels_last_format(format);
  py::gil_scoped_release released;
  return last ? channels_last(x) : contiguous(x);
}

Tensor clone_as(const Tensor& x, const py::object& format) {
  const bool last = is_channels_last_format(format);
  const bool rows = !format.is_none() && std::string(py::str(format)).find("contiguous_format") != std::string::npos;
  py::gil_scoped_release released;
  const bool same = last ? x.is_channels_last() : !rows || x.is_contiguous();
  return same ? clone(x) : last ? channels_last(x) : contiguous(x);
}

}  // namespace

SW_BINDINGS(copy) {
  plain_method(
      m, "contiguous", &contiguous_as, "self"_a, "memory_format"_a = py::none(),
      "The tensor itself where its memory is row-major (or, if asked for, channels-last), else a copy that is.");
  constexpr const char* clone_doc =
      "A copy with memory of its own, laid out as input is unless memory_format is given.";
  m.def("clone", &clone_as, "input"_a, py::kw_only(), "memory_format"_a = py::none(), clone_doc);
  plain_method(m, "clone", &clone_as, "self"_a, py::kw_only(), "memory_format"_a = py::none(), clone_doc);
  both(m, "_to", [](const Tensor& x, DType dtype) { return to(x, dtype); }, "input"_a, "dtype"_a);
  function(m, "_cast_made_before", &cast_made_before, "input"_a, "cast"_a);
  m.def(
      "_changes", [](const Tensor& x) { return std::pair<uint64_t, uintptr_t>(x.version(), uintptr_t(x.data())); },
      "input"_a, "What changes when the tensor's values do: the number of in-place changes, and where they are.");
  method(
      m, "_to_device",
      [](const Tensor& x, const Device& device, bool non_blocking) { return to(x, device, non_blocking); }, "self"_a,
      "device"_a, "non_blocking"_a = false);
  both(m, "_channels_last", &channels_last, "input"_a);
  m.def(
      "_full",
      [](const Shape& size, const Tensor& value, DType dtype, const Device& device) {
        return full(size, value, dtype, device);
      },
      "size"_a, "fill_value"_a, "dtype"_a, "device"_a = Device{}, py::call_guard<py::gil_scoped_release>());
  method(m, "copy_", &copy_, "self"_a, "src"_a, "non_blocking"_a = false,
         "Copies src into the tensor, converting its dtype, and returns the tensor. src is broadcast to its shape "
         "(ShapeError where it cannot be).");
  method(m, "fill_", &fill_, "self"_a, "value"_a,
         "Sets all elements to a number or a 0-dim tensor; returns the tensor.");
  method(m, "zero_", &zero_, "self"_a, "Sets all elements to 0; returns the tensor.");
}

}  // namespace skipway::bindings

// Methods of Tensor that are no ops: sizes, single values, lists, truth.
#include "bindings/bindings.h"
#include "core/deferred.h"
#include "ops/copy.h"

namespace skipway::bindings {
namespace {

py::object scalar_at(const Tensor& t, int64_t offset) {
  py::object out;
  dispatch_any(t.dtype(), [&]<class T>(Type<T>) {
    const T v = static_cast<const T*>(t.storage()->address())[offset];
    if constexpr (std::is_same_v<T, bool>) {
      out = py::bool_(v);
    } else if constexpr (is_floating(dtype_of<T>)) {
      out = py::float_(double(v));
    } else {
      out = py::int_(int64_t(v));
    }
  });
  return out;
}

Tensor host_copy(const Tensor& t) {
  py::gil_scoped_release released;
  return on_cpu(t);
}

py::object item(const Tensor& t) {
  SW_CHECK_VALUE(t.numel() == 1, "item: expected a tensor with one element, got shape ", t.shape());
  if (!t.device().is_cpu()) return scalar_at(host_copy(t), 0);
  return scalar_at(t, t.offset());
}

py::object nested_list(const Tensor& t, int dim, int64_t offset) {
  if (dim == t.dim()) return scalar_at(t, offset);
  py::list out(size_t(t.shape()[dim]));
  for (int64_t i = 0; i < t.shape()[dim]; ++i) out[size_t(i)] = nested_list(t, dim + 1, offset + i * t.strides()[dim]);
  return out;
}

bool truth(const Tensor& t) {
  SW_CHECK_VALUE(t.numel() == 1,
                 "bool: the truth of a tensor with more than one element (or none) is ambiguous, got shape ", t.shape(),
                 "; use any() or all()");
  return py::cast<bool>(py::bool_(item(t)));
}

int64_t length(const Tensor& t) {
  SW_CHECK_TYPE(t.dim() > 0, "len: a 0-dimensional tensor has no length");
  return t.shape()[0];
}

}  // namespace

SW_BINDINGS(tensor) {
  plain_method(
      m, "size",
      [](const py::object& self, const std::optional<int64_t>& dim) -> py::object {
        if (!dim) return self.attr("shape");
        return py::int_(self.cast<Tensor>().size(*dim));
      },
      "self"_a, "dim"_a = py::none(), "The sizes of the dimensions, or the size of one.");
  plain_method(m, "dim", [](const Tensor& t) { return t.dim(); }, "The number of dimensions.");
  plain_method(m, "ndimension", [](const Tensor& t) { return t.dim(); }, "The number of dimensions.");
  plain_method(m, "numel", [](const Tensor& t) { return t.numel(); }, "The number of elements.");
  plain_method(m, "nelement", [](const Tensor& t) { return t.numel(); }, "The number of elements.");
  plain_method(m, "element_size", [](const Tensor& t) { return size_of(t.dtype()); }, "Bytes per element.");
  plain_method(
      m, "stride",
      [](const Tensor& t, const std::optional<int64_t>& dim) -> py::object {
        if (dim) return py::int_(t.strides()[normalize_dim(*dim, t.dim(), "stride")]);
        return py::cast(t.strides());
      },
      "self"_a, "dim"_a = py::none(),
      "How many elements of memory lie between neighbours, for each dimension or for one.");
  plain_method(
      m, "storage_offset", [](const Tensor& t) { return t.offset(); },
      "Where the first element stands in its memory, in elements.");
  plain_method(
      m, "data_ptr",
      [](const Tensor& t) {
        const py::gil_scoped_release released;  // kernels that read the memory take the GIL now and then
        never_defer_from(t.storage());
        return reinterpret_cast<uintptr_t>(t.data());
      },
      "The address of the first element.");
  plain_method(
      m, "is_floating_point", [](const Tensor& t) { return is_floating(t.dtype()); },
      "True for float64, float32 and bfloat16.");
  plain_method(m, "is_complex", [](const Tensor&) { return false; }, "False: no dtype is complex.");
  plain_method(m, "_is_contiguous", [](const Tensor& t) { return t.is_contiguous(); });
  plain_method(m, "_is_channels_last", [](const Tensor& t) { return t.is_channels_last(); });
  plain_method(
      m, "_shares_storage", [](const Tensor& a, const Tensor& b) { return a.storage() == b.storage(); }, "self"_a,
      "other"_a);
  plain_method(m, "item", &item, "The value of a tensor with one element, as a Python number. ValueError for others.");
  plain_method(
      m, "tolist",
      [](const Tensor& t) {
        const Tensor h = t.device().is_cpu() ? t : host_copy(t);
        return nested_list(h, 0, h.offset());
      },
      "The values as nested lists of Python numbers; a 0-dim tensor gives a number.");
  plain_method(m, "__len__", &length);
  plain_method(m, "__bool__", &truth);
  plain_method(m, "__float__", [](const Tensor& t) { return py::float_(item(t)); });
  plain_method(m, "__int__", [](const Tensor& t) { return py::int_(item(t)); });
  plain_method(m, "__index__", [](const Tensor& t) {
    SW_CHECK_TYPE(!is_floating(t.dtype()) && t.numel() == 1, "index: expected an integer tensor with one element, got ",
                  t.dtype(), " of shape ", t.shape());
    return py::int_(item(t).cast<int64_t>());  // of a bool too
  });
  m.def(
      "empty",
      [](const py::args& size, std::optional<DType> dtype, const Device& device, bool requires_grad) {
        Tensor t = empty(shape_from_args(size, "empty"), dtype.value_or(DType::Float32), device);
        if (requires_grad) t.impl()->requires_grad = true;
        return t;
      },
      py::kw_only(), "dtype"_a = py::none(), "device"_a = Device{}, "requires_grad"_a = false,
      "A tensor of the given sizes whose values are whatever the memory holds.");
  m.def(
      "_zeros", [](const Shape& size, DType dtype, const Device& device) { return zeros(size, dtype, device); },
      "size"_a, "dtype"_a, "device"_a = Device{});
  m.def(
      "empty_strided",
      [](const Shape& size, const Shape& stride, DType dtype, const Device& device) {
        SW_CHECK_SHAPE(size.size() == stride.size(), "empty_strided: expected as many strides as sizes, got ", stride,
                       " for ", size);
        Tensor t = empty(size, dtype, device).as_strided(size, stride, 0);
        SW_CHECK_VALUE(t.is_dense(), "empty_strided: expected the strides of a dense layout, got ", stride,
                       " for size ", size);
        return t;
      },
      "size"_a, "stride"_a, "dtype"_a = DType::Float32, "device"_a = Device{},
      "A tensor of the given sizes and strides (in elements) whose values are whatever the memory holds. ShapeError "
      "unless there is a stride for each size, ValueError unless the strides are those of a dense layout.");
}

}  // namespace skipway::bindings

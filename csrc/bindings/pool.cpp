#include "ops/pool.h"

#include <array>
#include <optional>

#include "bindings/bindings.h"

namespace skipway::bindings {
namespace {

using OptionalShape = std::optional<Shape>;
Shape given(const OptionalShape& s) { return s ? *s : Shape(); }

py::object pooled(const MaxPoolResult& r, bool return_indices) {
  return return_indices ? py::object(py::make_tuple(r.values, r.indices)) : py::cast(r.values);
}

// None entries of an output size keep the input's size.
Shape output_size_of(const char* op, const py::object& size) {
  Shape shape;
  if (size.is_none()) return Shape{-1};
  if (!py::isinstance<py::sequence>(size)) {
    SW_CHECK_TYPE(load_shape(size.ptr(), shape), op, ": expected output_size to be a number, None or a sequence, got ",
                  std::string(py::repr(size)));
    SW_CHECK_VALUE(shape.size() == 1 && shape[0] >= 0, op, ": expected output_size of at least 0, got ", shape);
    return shape;
  }
  for (const py::handle& entry : size) {
    shape.push_back(entry.is_none() ? -1 : entry.cast<int64_t>());
    SW_CHECK_VALUE(entry.is_none() || shape.back() >= 0, op, ": expected output_size of at least 0, got ",
                   std::string(py::repr(size)));
  }
  return shape;
}

// Names with static storage: the ops keep them.
constexpr const char* kMax[] = {"max_pool1d", "max_pool2d", "max_pool3d"};
constexpr const char* kAvg[] = {"avg_pool1d", "avg_pool2d", "avg_pool3d"};
constexpr const char* kAdaptiveMax[] = {"adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"};
constexpr const char* kAdaptiveAvg[] = {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"};
constexpr const char* kUnpool[] = {"max_unpool1d", "max_unpool2d", "max_unpool3d"};

void bind_windows(py::module_& m, int dims) {
  const char* max_name = kMax[dims - 1];
  m.def(
      max_name,
      [=](const Tensor& x, const Shape& kernel, const OptionalShape& stride, const Shape& padding,
          const Shape& dilation, bool ceil_mode, bool return_indices) {
        MaxPoolResult r;
        {
          py::gil_scoped_release released;
          r = max_pool(max_name, dims, x, {kernel, given(stride), padding, dilation, ceil_mode}, return_indices);
        }
        return pooled(r, return_indices);
      },
      "input"_a, "kernel_size"_a, "stride"_a = py::none(), "padding"_a = 0, "dilation"_a = 1, "ceil_mode"_a = false,
      "return_indices"_a = false,
      "The maximum over windows of (N, C, spatial...) or (C, spatial...); with return_indices also where it was, flat "
      "in "
      "the spatial dimensions. stride None is kernel_size.");
  const char* avg_name = kAvg[dims - 1];
  const auto average = [=](const Tensor& x, const Shape& kernel, const OptionalShape& stride, const Shape& padding,
                           bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor_override) {
    SW_CHECK_VALUE(!divisor_override || *divisor_override != 0, avg_name,
                   ": expected a divisor_override other than 0, got 0");
    return avg_pool(avg_name, dims, x, {kernel, given(stride), padding, {}, ceil_mode}, count_include_pad,
                    divisor_override.value_or(0));
  };
  const char* doc = "The average over windows of (N, C, spatial...) or (C, spatial...). stride None is kernel_size.";
  if (dims == 1) {
    function(
        m, avg_name,
        [average](const Tensor& x, const Shape& kernel, const OptionalShape& stride, const Shape& padding,
                  bool ceil_mode,
                  bool include) { return average(x, kernel, stride, padding, ceil_mode, include, std::nullopt); },
        "input"_a, "kernel_size"_a, "stride"_a = py::none(), "padding"_a = 0, "ceil_mode"_a = false,
        "count_include_pad"_a = true, doc);
  } else {
    function(m, avg_name, average, "input"_a, "kernel_size"_a, "stride"_a = py::none(), "padding"_a = 0,
             "ceil_mode"_a = false, "count_include_pad"_a = true, "divisor_override"_a = py::none(), doc);
  }
}

void bind_adaptive(py::module_& m, int dims) {
  const char* max_name = kAdaptiveMax[dims - 1];
  m.def(
      max_name,
      [=](const Tensor& x, const py::object& output_size, bool return_indices) {
        const Shape size = output_size_of(max_name, output_size);
        MaxPoolResult r;
        {
          py::gil_scoped_release released;
          r = adaptive_max_pool(max_name, dims, x, size, return_indices);
        }
        return pooled(r, return_indices);
      },
      "input"_a, "output_size"_a, "return_indices"_a = false,
      "The maximum over windows that divide the input into output_size parts; None keeps the input's size.");
  const char* avg_name = kAdaptiveAvg[dims - 1];
  m.def(
      avg_name,
      [=](const Tensor& x, const py::object& output_size) {
        const Shape size = output_size_of(avg_name, output_size);
        py::gil_scoped_release released;
        return adaptive_avg_pool(avg_name, dims, x, size);
      },
      "input"_a, "output_size"_a,
      "The average over windows that divide the input into output_size parts; None keeps the input's size.");
  const char* unpool_name = kUnpool[dims - 1];
  function(
      m, unpool_name,
      [=](const Tensor& x, const Tensor& indices, const Shape& kernel, const OptionalShape& stride,
          const Shape& padding, const OptionalShape& output_size) {
        return max_unpool(unpool_name, dims, x, indices, {kernel, given(stride), padding, {}, false},
                          given(output_size));
      },
      "input"_a, "indices"_a, "kernel_size"_a, "stride"_a = py::none(), "padding"_a = 0, "output_size"_a = py::none(),
      "Zeros with input's values where max_pool took them from.");
}

}  // namespace

SW_BINDINGS(pool) {
  for (int dims = 1; dims <= 3; ++dims) {
    bind_windows(m, dims);
    bind_adaptive(m, dims);
  }
}

}  // namespace skipway::bindings

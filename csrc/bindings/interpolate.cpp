#include "ops/interpolate.h"

#include <cmath>
#include <optional>

#include "bindings/bindings.h"

namespace skipway::bindings {
namespace {

using Numbers = std::vector<double>;

Numbers numbers_of(const char* what, const py::object& given, size_t dims) {
  Numbers values;
  if (py::isinstance<py::sequence>(given)) {
    values = given.cast<Numbers>();
  } else {
    values.assign(dims, given.cast<double>());
  }
  SW_CHECK_SHAPE(values.size() == dims, "interpolate: expected ", dims, " numbers as ", what, ", got ",
                 std::string(py::repr(given)));
  return values;
}

Tensor resize(const Tensor& x, const py::object& size, const py::object& scale_factor, const std::string& mode,
              std::optional<bool> align_corners, std::optional<bool> recompute_scale_factor, bool antialias) {
  check_defined("interpolate", "input", x);
  SW_CHECK_SHAPE(x.dim() >= 3, "interpolate: expected (N, C, ...) input of 3 to 5 dimensions, got ", x.shape());
  SW_CHECK_VALUE(size.is_none() != scale_factor.is_none(),
                 "interpolate: expected one of size and scale_factor, got size ", std::string(py::str(size)),
                 " and scale_factor ", std::string(py::str(scale_factor)));
  SW_CHECK_VALUE(!antialias, "interpolate: antialias is not supported");
  const bool corners = mode == "linear" || mode == "bilinear" || mode == "bicubic" || mode == "trilinear";
  SW_CHECK_VALUE(corners || !align_corners, "interpolate: align_corners does not apply to mode '", mode, "'");
  const size_t dims = size_t(x.dim() - 2);
  Shape sizes;
  Numbers scales;
  if (!size.is_none()) {
    SW_CHECK_VALUE(!recompute_scale_factor.value_or(false), "interpolate: recompute_scale_factor needs a scale_factor");
    SW_CHECK_TYPE(load_shape(size.ptr(), sizes), "interpolate: expected size to be a number or a sequence, got ",
                  std::string(py::repr(size)));
    if (!py::isinstance<py::sequence>(size)) sizes = Shape::filled(int(dims), sizes[0]);
  } else {
    scales = numbers_of("scale_factor", scale_factor, dims);
    for (size_t d = 0; d < dims; ++d) {
      const double wanted = std::floor(double(x.shape()[int(2 + d)]) * scales[d]);
      SW_CHECK_VALUE(scales[d] > 0 && wanted < 2e9, "interpolate: expected a positive scale_factor, got ", scales[d]);
      sizes.push_back(int64_t(wanted));
    }
    if (recompute_scale_factor.value_or(false)) scales.clear();
  }
  py::gil_scoped_release released;
  return interpolate(x, sizes, scales, mode, align_corners.value_or(false));
}

}  // namespace

SW_BINDINGS(interpolate) {
  const py::none none;
  m.def("interpolate", &resize, "input"_a, "size"_a = none, "scale_factor"_a = none, "mode"_a = "nearest",
        "align_corners"_a = none, "recompute_scale_factor"_a = none, "antialias"_a = false,
        R"(Resizes the spatial dimensions of (N, C, ...) input to `size`, or by `scale_factor`.

mode: "nearest", "nearest-exact", "area", "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D).
align_corners puts the first and last outputs on the first and last inputs.)");
}

}  // namespace skipway::bindings

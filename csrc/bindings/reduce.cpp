#include "ops/reduce.h"

#include "bindings/bindings.h"
#include "bindings/named.h"
#include "ops/elementwise.h"

namespace skipway::bindings {

py::object make_named_pair(const NamedPair& p) {
  // One class per name, made at first use and kept.
  static PyObject* const classes = PyDict_New();
  PyObject* type = PyDict_GetItemString(classes, p.name);
  if (!type) {
    const py::object made =
        py::module_::import("collections").attr("namedtuple")(p.name, py::make_tuple(p.first_name, p.second_name));
    if (PyDict_SetItemString(classes, p.name, made.ptr()) != 0) throw py::error_already_set();
    type = made.ptr();
  }
  return py::handle(type)(p.first, p.second);
}

namespace {

// numpy's and old PyTorch's unbiased=... beside correction=...
double correction_of(const std::optional<bool>& unbiased, const std::optional<double>& correction) {
  SW_CHECK_VALUE(!unbiased || !correction, "expected either unbiased or correction, not both");
  return correction ? *correction : unbiased ? double(*unbiased) : 1.0;
}

// x.var(unbiased), x.var(dim, unbiased, keepdim), x.var(dim, correction=..., keepdim=...); likewise std and *_mean.
template <class Cast, class F>
void bind_moment(py::module_& m, const char* name, F f, Cast cast, const char* doc) {
  const auto by_flag = [=](const Tensor& x, bool unbiased) { return cast(f(x, Dims{}, false, double(unbiased))); };
  const auto by_dims = [=](const Tensor& x, const Dims& dim, bool unbiased, bool keepdim) {
    return cast(f(x, dim, keepdim, double(unbiased)));
  };
  const auto by_correction = [=](const Tensor& x, const Dims& dim, const std::optional<bool>& unbiased,
                                 const std::optional<double>& correction, bool keepdim) {
    return cast(f(x, dim, keepdim, correction_of(unbiased, correction)));
  };
  function(m, name, by_flag, "input"_a, py::arg("unbiased").noconvert(), doc);
  function(m, name, by_dims, "input"_a, "dim"_a, "unbiased"_a, "keepdim"_a = false);
  both(m, name, by_correction, "input"_a, "dim"_a = py::none(), py::kw_only(), "unbiased"_a = py::none(),
       "correction"_a = py::none(), "keepdim"_a = false,
       "The divisor is n - correction: 1 (unbiased) unless correction or unbiased=False says otherwise.");
}

double norm_order(const py::object& p) {
  if (py::isinstance<py::str>(p)) {
    const auto name = p.cast<std::string>();
    SW_CHECK_VALUE(name == "fro", "norm: p must be a number, inf, -inf or 'fro', got '", name, "'");
    return 2;
  }
  SW_CHECK_TYPE(p.is_none() || PyFloat_Check(p.ptr()) || PyLong_Check(p.ptr()),
                "norm: expected p to be a number, inf, -inf or 'fro', got ", Py_TYPE(p.ptr())->tp_name);
  return p.is_none() ? 2 : p.cast<double>();
}

Tensor norm_method(const Tensor& x, const py::object& p, const Dims& dim, bool keepdim, OptionalDType dtype) {
  const double order = norm_order(p);
  py::gil_scoped_release release;
  return norm(x, order, dim, keepdim, dtype);
}

// max(x), max(x, dim, keepdim), max(x, other)
template <class All, class Along, class Pairwise>
void bind_extreme(py::module_& m, const char* name, All all, Along along, Pairwise pairwise, const char* all_doc) {
  function(m, name, [all](const Tensor& x) { return all(x, {}, false); }, "input"_a, all_doc);
  // Before the next: a 0-dim integer tensor could stand for an integer.
  function(m, name, pairwise, "input"_a, py::arg("other").noconvert().none(false),
           "Of two tensors, element by element.");
  both(
      m, name,
      [name, along](const Tensor& x, int64_t dim, bool keepdim) {
        return values_indices(name, along(x, dim, keepdim));
      },
      "input"_a, "dim"_a, "keepdim"_a = false, "(values, indices) along dim; the first of equal elements. NaN wins.");
}

// f(input, dim=None, keepdim=False, ...)
template <class F, class... Extra>
void reduction(py::module_& m, const char* name, F f, const Extra&... extra) {
  both(m, name, f, "input"_a, "dim"_a = py::none(), "keepdim"_a = false, extra...);
}

void bind_sums(py::module_& m) {
  reduction(m, "sum", &sum, "dtype"_a = py::none(),
            "The sum over dim (all dimensions if None), pairwise in float32 or wider; integers in int64.");
  reduction(m, "mean", &mean, "dtype"_a = py::none(),
            "The mean over dim (all dimensions if None); floating dtypes only, or give dtype.");
  reduction(m, "nansum", &nansum, "dtype"_a = py::none(), "The sum of the elements that are not NaN.");
  reduction(m, "nanmean", &nanmean, "dtype"_a = py::none(), "The mean of the elements that are not NaN.");
  reduction(m, "prod", &prod, "dtype"_a = py::none(), "The product over dim; the gradient is exact with zeros too.");
  both(m, "logsumexp", &logsumexp, "input"_a, "dim"_a, "keepdim"_a = false,
       "log(sum(exp(x))) over dim, without overflow.");
  both(m, "count_nonzero", &count_nonzero, "input"_a, "dim"_a = py::none(),
       "The number of elements that are not zero (int64); NaN counts.");
  reduction(m, "all", &all, "Are all elements over dim nonzero?");
  reduction(m, "any", &any, "Is any element over dim nonzero?");
  both(m, "cumsum", &cumsum, "input"_a, "dim"_a, "dtype"_a = py::none(),
       "Running sums along dim, accumulated in float64 (integers in int64).");
  both(m, "cumprod", &cumprod, "input"_a, "dim"_a, "dtype"_a = py::none(),
       "Running products along dim; the gradient is exact with zeros too.");
  m.def("norm", &norm_method, "input"_a, "p"_a = "fro", "dim"_a = py::none(), "keepdim"_a = false,
        "dtype"_a = py::none(), "(sum |x|^p)^(1/p) over dim (default: all); p may be inf, -inf, 0 or \"fro\" (2).");
  add_method("norm", m.attr("norm"));
}

void bind_extremes(py::module_& m) {
  bind_extreme(m, "max", &amax, static_cast<std::pair<Tensor, Tensor> (*)(const Tensor&, int64_t, bool)>(&max),
               &maximum, "The largest element; NaN wins, and equal elements share the gradient.");
  bind_extreme(m, "min", &amin, static_cast<std::pair<Tensor, Tensor> (*)(const Tensor&, int64_t, bool)>(&min),
               &minimum, "The smallest element; NaN wins, and equal elements share the gradient.");
  both(m, "amax", &amax, "input"_a, "dim"_a = py::tuple(), "keepdim"_a = false,
       "The largest elements over dim; NaN wins, and equal elements share the gradient.");
  both(m, "amin", &amin, "input"_a, "dim"_a = py::tuple(), "keepdim"_a = false,
       "The smallest elements over dim; NaN wins, and equal elements share the gradient.");
  both(
      m, "aminmax",
      [](const Tensor& x, const Dims& dim, bool keepdim) {
        return NamedPair{"aminmax", "min", "max", amin(x, dim, keepdim), amax(x, dim, keepdim)};
      },
      "input"_a, py::kw_only(), "dim"_a = py::none(), "keepdim"_a = false, "(min, max) over dim.");
  reduction(m, "argmax", &argmax,
            "Position of the first largest element along dim (None: in the flattened tensor); NaN wins.");
  reduction(m, "argmin", &argmin,
            "Position of the first smallest element along dim (None: in the flattened tensor); NaN wins.");
  function(
      m, "median", [](const Tensor& x) { return median(x); }, "input"_a,
      "The middle element, the lower one of two; NaN wins.");
  both(
      m, "median",
      [](const Tensor& x, int64_t dim, bool keepdim) { return values_indices("median", median(x, dim, keepdim)); },
      "input"_a, "dim"_a, "keepdim"_a = false, "(values, indices) of the middle elements along dim.");
}

}  // namespace

SW_BINDINGS(reduce) {
  bind_sums(m);
  bind_extremes(m);
  const auto same = [](const Tensor& y) { return y; };
  const auto pair = [](const std::pair<Tensor, Tensor>& y) { return y; };
  bind_moment(m, "var", &var, same, "The variance over dim (all dimensions if None), by two passes.");
  bind_moment(m, "std", &std, same, "The standard deviation over dim (all dimensions if None), by two passes.");
  bind_moment(m, "var_mean", &var_mean, pair, "(variance, mean) over dim (all dimensions if None).");
  bind_moment(m, "std_mean", &std_mean, pair, "(standard deviation, mean) over dim (all dimensions if None).");
}

}  // namespace skipway::bindings

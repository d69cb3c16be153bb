#include "ops/shape.h"

#include "bindings/bindings.h"
#include "ops/index.h"
#include "ops/reduce.h"

namespace skipway::bindings {
namespace {

using Split = std::vector<Tensor> (*)(const Tensor&, const std::vector<int64_t>&, int64_t);

// x.view(2, 3), x.view((2, 3)) and x.view(shape=(2, 3)).
template <class F>
void shape_method(py::module_& m, const char* name, const char* keyword, F f, const char* doc) {
  const auto call = [name, keyword, f](const Tensor& x, const py::args& args, const py::kwargs& kwargs) {
    Shape shape;
    if (args.empty() && kwargs.size() == 1 && kwargs.contains(keyword)) {
      shape = shape_from_args(py::make_tuple(kwargs[keyword]), name);
    } else {
      SW_CHECK_TYPE(kwargs.empty(), name, ": unexpected keyword arguments ", py::repr(kwargs).cast<std::string>());
      shape = shape_from_args(args, name);
    }
    py::gil_scoped_release release;
    return f(x, shape);
  };
  plain_method(m, name, call, doc);
}

void add_property(const char* name, py::object getter) {
  const py::object property = py::module_::import("builtins").attr("property")(getter);
  if (PyObject_SetAttrString(reinterpret_cast<PyObject*>(tensor_type()), name, property.ptr()) != 0) {
    throw py::error_already_set();
  }
}

Tensor squeeze_dims(const Tensor& x, const std::optional<Shape>& dims) { return dims ? squeeze(x, *dims) : squeeze(x); }

// A list of tensors given as one sequence or as separate arguments.
std::vector<Tensor> tensor_args(const py::args& args, const char* op) {
  const bool one = args.size() == 1 && (PyTuple_Check(args[0].ptr()) || PyList_Check(args[0].ptr()));
  std::vector<Tensor> out;
  for (const py::handle item : one ? py::reinterpret_borrow<py::object>(args[0]) : py::object(args)) {
    Tensor t;
    SW_CHECK_TYPE(unwrap(item.ptr(), t), op, ": expected tensors, got ", Py_TYPE(item.ptr())->tp_name);
    out.push_back(t);
  }
  return out;
}

bool is_xy(const std::optional<std::string>& indexing) {
  if (!indexing) return false;
  SW_CHECK_VALUE(*indexing == "ij" || *indexing == "xy", "meshgrid: indexing must be 'ij' or 'xy', got '", *indexing,
                 "'");
  return *indexing == "xy";
}

// In place: x's handle shows another shape of the same memory.
Tensor become(const Tensor& x, const Tensor& view) {
  SW_CHECK(!x.requires_grad(), "the shape of a tensor that requires grad cannot be changed in place");
  x.impl()->shape = view.shape();
  x.impl()->strides = view.strides();
  return x;
}

void bind_dims(py::module_& m) {
  // A function with a sequence, and a method with a sequence or separate integers.
  const struct {
    const char *name, *keyword, *argument;
    Tensor (*f)(const Tensor&, const Shape&);
    bool method_only;
    const char* doc;
  } shapes[] = {
      {"reshape", "shape", "shape", &reshape, false,
       "The elements in row-major order under another shape; one size may be -1. A view where strides permit one, else "
       "a copy. ShapeError where the numbers of elements differ."},
      {"view", "size", "size", &view, true,
       "reshape under PyTorch's other name: a copy, not an error, where strides do not permit a view."},
      {"permute", "dims", "dims", &permute, false, "A view with the dimensions in another order."},
      {"expand", "size", "size", &expand, true,
       "A view with dimensions of size 1 repeated, and new ones in front; -1 keeps a size. ShapeError for other "
       "sizes."},
      {"broadcast_to", "size", "size", &expand, false,
       "A view of input with dimensions of size 1 repeated to the given shape."},
      {"repeat", "repeats", "repeats", &repeat, true, "A copy, repeated so many times along each dimension."},
      {"tile", "dims", "dims", &tile, false, "input repeated along each dimension, as numpy.tile."},
      {"flip", "dims", "dims", &flip, false, "A copy with the order of elements reversed along dims."}};
  for (const auto& s : shapes) {
    shape_method(m, s.name, s.keyword, s.f, s.doc);
    if (!s.method_only) function(m, s.name, s.f, "input"_a, py::arg(s.argument), s.doc);
  }
  both(m, "flatten", &flatten, "input"_a, "start_dim"_a = 0, "end_dim"_a = -1,
       "Dimensions start_dim to end_dim as one.");
  both(m, "unflatten", &unflatten, "input"_a, "dim"_a, "sizes"_a,
       "Dimension dim cut into several sizes; one may be -1.");
  both(m, "ravel", [](const Tensor& x) { return reshape(x, {-1}); }, "input"_a, "All elements in one dimension.");
  both(m, "squeeze", &squeeze_dims, "input"_a, "dim"_a = py::none(),
       "A view without dimensions of size 1: all of them, or those in dim.");
  both(m, "unsqueeze", &unsqueeze, "input"_a, "dim"_a, "A view with a new dimension of size 1 at dim.");
  plain_method(
      m, "squeeze_", [](const Tensor& x, const std::optional<Shape>& dim) { return become(x, squeeze_dims(x, dim)); },
      "self"_a, "dim"_a = py::none(), "squeeze in place: this tensor's shape changes, its memory does not.");
  plain_method(
      m, "unsqueeze_", [](const Tensor& x, int64_t dim) { return become(x, unsqueeze(x, dim)); }, "self"_a, "dim"_a,
      "unsqueeze in place: this tensor's shape changes, its memory does not.");
  for (const char* name : {"transpose", "swapaxes", "swapdims"})
    both(m, name, &transpose, "input"_a, "dim0"_a, "dim1"_a, "A view with two dimensions swapped.");
  both(m, "t", &t, "input"_a, "The transpose of a matrix; shorter tensors as they are.");
  for (const char* name : {"movedim", "moveaxis"})
    both(m, name, &movedim, "input"_a, "source"_a, "destination"_a,
         "A view with dimensions moved; the others keep their order.");
  plain_method(
      m, "view_as", [](const Tensor& x, const Tensor& other) { return view(x, other.shape()); }, "self"_a, "other"_a,
      "view with the shape of another tensor.");
  plain_method(
      m, "reshape_as", [](const Tensor& x, const Tensor& other) { return reshape(x, other.shape()); }, "self"_a,
      "other"_a, "reshape with the shape of another tensor.");
  plain_method(
      m, "expand_as", [](const Tensor& x, const Tensor& other) { return expand(x, other.shape()); }, "self"_a,
      "other"_a, "expand to the shape of another tensor.");
  add_property("T", py::cpp_function(&reverse_dims));
  add_property("mT", py::cpp_function(&matrix_transpose));
  both(m, "adjoint", &matrix_transpose, "input"_a, "The last two dimensions swapped.");
  m.def(
      "broadcast_tensors",
      [](const py::args& tensors) { return broadcast_tensors(tensor_args(tensors, "broadcast_tensors")); },
      "The tensors, expanded to one shape.");
  m.def(
      "meshgrid",
      [](const py::args& tensors, const std::optional<std::string>& indexing) {
        return meshgrid(tensor_args(tensors, "meshgrid"), is_xy(indexing));
      },
      "indexing"_a = py::none(), "Grids of the coordinates of 1-D tensors; indexing \"ij\" (default) or \"xy\".");
  m.def(
      "broadcast_shapes",
      [](const py::args& shapes) {
        Shape out;
        for (const py::handle s : shapes)
          out = broadcast_shapes(out, shape_from_args(py::make_tuple(s), "broadcast_shapes"), "broadcast_shapes");
        return out;
      },
      "The shape that shapes broadcast to; ShapeError where they do not.");
}

// Parts come as tuples, as PyTorch's do.
py::tuple as_tuple(const std::vector<Tensor>& parts) {
  py::tuple out(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) out[i] = parts[i];
  return out;
}

// Tensors have __index__, but as sizes they are sequences.
bool is_number(const py::object& o) {
  Tensor t;
  return PyIndex_Check(o.ptr()) && !unwrap(o.ptr(), t);
}

int64_t integer(const py::object& o, const char* op) {
  py::detail::make_caster<int64_t> caster;
  SW_CHECK_VALUE(caster.load(o, true), op, ": ", py::repr(o).cast<std::string>(), " does not fit into 64 bits");
  return py::detail::cast_op<int64_t>(caster);
}

std::vector<int64_t> integers(const py::object& o, const char* op) {
  py::detail::make_caster<std::vector<int64_t>> caster;
  Tensor t;
  const py::object list = unwrap(o.ptr(), t) ? o.attr("tolist")() : o;
  SW_CHECK_TYPE(caster.load(list, true), op, ": expected an integer or a sequence of integers, got ",
                py::repr(list).cast<std::string>());
  return py::detail::cast_op<std::vector<int64_t>>(caster);
}

void bind_parts(py::module_& m) {
  both(m, "flipud", [](const Tensor& x) { return flip(x, {0}); }, "input"_a, "flip along the first dimension.");
  both(m, "fliplr", [](const Tensor& x) { return flip(x, {1}); }, "input"_a, "flip along the second dimension.");
  const auto sum_to_size = [](const Tensor& x, const py::args& size) {
    const Shape shape = shape_from_args(size, "sum_to_size");
    py::gil_scoped_release release;
    Shape dims;
    const int lead = x.dim() - shape.size();
    SW_CHECK_SHAPE(lead >= 0, "sum_to_size: input of shape ", x.shape(), " has fewer dimensions than ", shape);
    for (int d = 0; d < x.dim(); ++d)
      if (d < lead || (shape[d - lead] == 1 && x.shape()[d] != 1)) dims.push_back(d);
    return reshape(dims.empty() ? x : sum(x, dims, true), shape);
  };
  plain_method(m, "sum_to_size", sum_to_size,
               "The sum over the dimensions that broadcasting the given size to this shape would add or repeat.");
  both(m, "narrow", &narrow, "input"_a, "dim"_a, "start"_a, "length"_a,
       "A view of `length` elements from `start` along dim.");
  both(m, "select", &select, "input"_a, "dim"_a, "index"_a, "A view of one index along dim, which is dropped.");
  both(m, "diagonal", &diagonal, "input"_a, "offset"_a = 0, "dim1"_a = 0, "dim2"_a = 1,
       "A view of the diagonals over two dimensions, as the last dimension.");
  plain_method(m, "unfold", &unfold, "self"_a, "dimension"_a, "size"_a, "step"_a,
               "A view of all slices of `size` elements along a dimension, `step` apart; they are the last dimension.");
  both(
      m, "as_strided",
      [](const Tensor& x, const Shape& size, const Shape& stride, std::optional<int64_t> offset) {
        return as_strided(x, size, stride, offset ? *offset : x.offset());
      },
      "input"_a, "size"_a, "stride"_a, "storage_offset"_a = py::none(),
      "A view of the memory with any sizes, strides and offset (in elements), within the memory.");
  const auto split_any = [](const Tensor& x, const py::object& sizes, int64_t dim) {
    if (is_number(sizes)) return as_tuple(split(x, integer(sizes, "split"), dim));
    return as_tuple(split(x, integers(sizes, "split"), dim));
  };
  constexpr const char* split_doc =
      "Views of parts of one size (the last may be smaller), or of the given sizes, along dim.";
  m.def("split", split_any, "tensor"_a, "split_size_or_sections"_a, "dim"_a = 0, split_doc);
  m.def("split_with_sizes", split_any, "input"_a, "split_sizes"_a, "dim"_a = 0,
        "Views of parts of the given sizes along dim.");
  plain_method(m, "split", split_any, "self"_a, "split_size"_a, "dim"_a = 0, split_doc);
  const auto tensor_split_any = [](const Tensor& x, const py::object& sections, int64_t dim) {
    if (is_number(sections)) return as_tuple(tensor_split(x, integer(sections, "tensor_split"), dim));
    return as_tuple(tensor_split(x, integers(sections, "tensor_split"), dim));
  };
  m.def("tensor_split", tensor_split_any, "input"_a, "indices_or_sections"_a, "dim"_a = 0,
        "Views of a number of parts as equal as can be, or cut at the given indices.");
  add_method("tensor_split", m.attr("tensor_split"));
  m.def(
      "chunk", [](const Tensor& x, int64_t chunks, int64_t dim) { return as_tuple(chunk(x, chunks, dim)); }, "input"_a,
      "chunks"_a, "dim"_a = 0, "Views of at most `chunks` parts of one size along dim; the last may be smaller.");
  add_method("chunk", m.attr("chunk"));
  m.def(
      "unbind", [](const Tensor& x, int64_t dim) { return as_tuple(unbind(x, dim)); }, "input"_a, "dim"_a = 0,
      "A view for each index along dim.");
  add_method("unbind", m.attr("unbind"));
  both(
      m, "roll",
      [](const Tensor& x, const Shape& shifts, const std::optional<Shape>& dims) {
        return roll(x, shifts, dims.value_or(Shape{}));
      },
      "input"_a, "shifts"_a, "dims"_a = py::none(),
      "Elements shifted along dims; those that leave at the end come back at the front.");
  both(
      m, "repeat_interleave",
      [](const Tensor& x, const Tensor& repeats, std::optional<int64_t> dim) {
        check_defined("repeat_interleave", "repeats", repeats);
        if (!repeats.weak() || repeats.dtype() != DType::Int64) return repeat_interleave(x, repeats, dim);
        check_defined("repeat_interleave", "input", x);
        const int64_t n = *repeats.data_as<int64_t>();
        return dim ? repeat_interleave(x, n, *dim) : repeat_interleave(reshape(x, {-1}), n, 0);
      },
      "input"_a, "repeats"_a, "dim"_a = py::none(),
      "Each element `repeats` times (a number, or one per index along dim).");
}

}  // namespace

SW_BINDINGS(shape) {
  bind_dims(m);
  bind_parts(m);
}

}  // namespace skipway::bindings

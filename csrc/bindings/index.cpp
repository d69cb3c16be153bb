#include "ops/index.h"

#include "bindings/bindings.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"

namespace skipway::bindings {
namespace {

py::handle core;  // the module, for from_numpy

// What a Python index means for a tensor: a view of it, and the tensors that pick from that view.
struct Parsed {
  BasicIndex basic;
  Indices picks;  // one entry per dimension of the view; a mask stands for as many as it has
  bool advanced = false;
};

struct Item {
  enum Kind { Int, Slice, NewAxis, Ellipsis, Flag, Pick } kind;
  int64_t value = 0;  // Int, Flag
  py::handle slice;
  Tensor tensor;  // Pick: of at least one dimension
  int consumes() const {
    if (kind == Pick) return tensor.dtype() == DType::Bool ? tensor.dim() : 1;
    return kind == Int || kind == Slice;
  }
};

Tensor array_index(py::handle object) {
  py::object array = py::module_::import("numpy").attr("asarray")(object);
  if (array.attr("size").cast<int64_t>() == 0 && !PyObject_HasAttrString(object.ptr(), "dtype")) {
    array = array.attr("astype")("int64");
  }
  const auto kind = array.attr("dtype").attr("kind").cast<std::string>();
  SW_CHECK_INDEX(kind == "i" || kind == "u" || kind == "b", "index: an index array must be of integers or bools, got ",
                 py::str(array.attr("dtype")).cast<std::string>());
  if (kind != "b") array = array.attr("astype")("int64");
  Tensor t;
  const py::object made = core.attr("from_numpy")(array.attr("copy")());
  SW_CHECK_TYPE(unwrap(made.ptr(), t), "index: an array could not be read");
  return t;
}

int64_t scalar_value(const Tensor& t) {
  int64_t value = 0;
  dispatch_integer(t.dtype(), [&]<class T>(Type<T>) { value = int64_t(*t.data_as<T>()); });
  return value;
}

Item tensor_item(const Tensor& t) {
  SW_CHECK_INDEX(!is_floating(t.dtype()), "index: an index tensor must be of an integer dtype or bool, got ",
                 t.dtype());
  if (t.dim() > 0) return {Item::Pick, 0, {}, t};
  return {t.dtype() == DType::Bool ? Item::Flag : Item::Int, scalar_value(t), {}, {}};
}

Item read_item(py::handle o) {
  Tensor t;
  if (o.is_none()) return {Item::NewAxis, 0, {}, {}};
  if (o.ptr() == Py_Ellipsis) return {Item::Ellipsis, 0, {}, {}};
  if (PyBool_Check(o.ptr())) return {Item::Flag, o.ptr() == Py_True, {}, {}};
  if (PySlice_Check(o.ptr())) return {Item::Slice, 0, o, {}};
  if (unwrap(o.ptr(), t)) return tensor_item(t);
  if (PyList_Check(o.ptr()) || PyTuple_Check(o.ptr()) || PyRange_Check(o.ptr()) ||
      PyObject_HasAttrString(o.ptr(), "__array__")) {
    return tensor_item(array_index(o));
  }
  const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(o.ptr()));
  if (!number) PyErr_Clear();
  SW_CHECK_INDEX(number, "index: expected integers, slices, None, Ellipsis, or integer or bool tensors, got ",
                 Py_TYPE(o.ptr())->tp_name);
  int overflow = 0;
  const int64_t value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  SW_CHECK_INDEX(!overflow, "index: ", py::str(number).cast<std::string>(), " does not fit into 64 bits");
  return {Item::Int, value, {}, {}};
}

Tensor make_positions(std::initializer_list<int64_t> values) {
  Tensor t = empty({int64_t(values.size())}, DType::Int64);
  int64_t* p = t.data_as<int64_t>();
  for (int64_t v : values) *p++ = v;
  return t;
}

class Parser {
 public:
  Parser(const Tensor& x, const std::vector<Item>& items) : x_(x) {
    int used = 0, ellipses = 0;
    for (const Item& item : items) {
      used += item.consumes();
      ellipses += item.kind == Item::Ellipsis;
      out_.advanced |= item.kind == Item::Pick || item.kind == Item::Flag;
    }
    SW_CHECK_INDEX(ellipses <= 1, "index: only one Ellipsis is allowed");
    SW_CHECK_INDEX(used <= x.dim(), "index: too many indices for input of shape ", x.shape(), ": got ", used);
    for (const Item& item : items) {
      if (item.kind == Item::Ellipsis) {
        for (int i = x.dim() - used; i > 0; --i) keep();
      } else {
        add(item);
      }
    }
  }
  Parsed result() const { return out_; }

 private:
  void keep() {
    out_.basic.add({IndexItem::Slice, 0, x_.shape()[dim_++], 1});
    out_.picks.emplace_back();
  }
  void pick(const Tensor& t) { out_.picks.push_back(t); }

  void add(const Item& item) {
    switch (item.kind) {
      case Item::Int:
        return add_int(item.value);
      case Item::Slice:
        return add_slice(item.slice);
      case Item::NewAxis:
        out_.basic.add({IndexItem::NewAxis, 0, 1, 1});
        return out_.picks.emplace_back(), void();
      case Item::Flag:
        out_.basic.add({IndexItem::NewAxis, 0, 1, 1});
        return pick(item.value ? make_positions({0}) : make_positions({}));
      default:
        for (int i = item.consumes(); i > 0; --i) out_.basic.add({IndexItem::Slice, 0, x_.shape()[dim_++], 1});
        return pick(item.tensor);
    }
  }
  void add_int(int64_t value) {
    const int64_t size = x_.shape()[dim_];
    SW_CHECK_INDEX(value >= -size && value < size, "index: index ", value, " is out of range for dimension ", dim_,
                   " of size ", size);
    if (value < 0) value += size;
    if (!out_.advanced) {
      out_.basic.add({IndexItem::Int, value, 1, 1});
      ++dim_;
      return;
    }
    out_.basic.add({IndexItem::Slice, 0, size, 1});
    ++dim_;
    pick(reshape(make_positions({value}), {}));
  }
  void add_slice(py::handle slice) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice.ptr(), &start, &stop, &step) != 0) throw py::error_already_set();
    SW_CHECK_VALUE(step >= 1, "index: the step of a slice must be at least 1, got ", step, "; use flip to reverse");
    out_.basic.add(slice_item(start, stop, step, x_.shape()[dim_++]));
    out_.picks.emplace_back();
  }

  const Tensor& x_;
  Parsed out_;
  int dim_ = 0;
};

Parsed parse(const Tensor& x, py::handle key) {
  std::vector<Item> items;
  if (PyTuple_Check(key.ptr())) {
    for (const py::handle item : py::reinterpret_borrow<py::tuple>(key)) items.push_back(read_item(item));
  } else {
    items.push_back(read_item(key));
  }
  return Parser(x, items).result();
}

Tensor get_item(const Tensor& x, const py::object& key) {
  const Parsed p = parse(x, key);
  py::gil_scoped_release release;
  const Tensor view = basic_index("index", x, p.basic);
  return p.advanced ? index(view, p.picks) : view;
}

Tensor value_tensor(const Tensor& x, const py::object& value) {
  Tensor t;
  if (load_tensor(value.ptr(), true, t) && t.defined()) return t;
  SW_CHECK_TYPE(!value.is_none(), "index: None cannot be assigned to elements");
  py::object array = py::module_::import("numpy").attr("array")(value);
  const auto kind = array.attr("dtype").attr("kind").cast<std::string>();
  SW_CHECK_TYPE(kind == "i" || kind == "u" || kind == "b" || kind == "f" || kind == "V",
                "index: cannot assign values of type ", Py_TYPE(value.ptr())->tp_name);
  if (kind == "f" && x.dtype() == DType::BFloat16) array = array.attr("astype")("float32");
  const py::object made = core.attr("from_numpy")(array);
  SW_CHECK_TYPE(unwrap(made.ptr(), t), "index: the values could not be read");
  return t;
}

void set_item(const Tensor& x, const py::object& key, const py::object& given) {
  const Parsed p = parse(x, key);
  Tensor value = value_tensor(x, given);
  py::gil_scoped_release release;
  const Tensor view = basic_index("index", x, p.basic);
  if (p.advanced) {
    index_put_(view, p.picks, value, false);
    return;
  }
  while (value.dim() > view.dim() && value.shape()[0] == 1) value = squeeze(value, {0});
  SW_CHECK_SHAPE(value.dim() <= view.dim(), "index: values of shape ", value.shape(),
                 " cannot be broadcast to the indexed shape ", view.shape());
  if (value.storage() == x.storage()) value = clone(value);
  copy_(view, value);
}

Indices read_indices(const py::object& indices) {
  SW_CHECK_TYPE(PyTuple_Check(indices.ptr()) || PyList_Check(indices.ptr()),
                "index_put: expected a tuple of tensors or None as indices, got ", Py_TYPE(indices.ptr())->tp_name);
  Indices out;
  for (const py::handle item : py::tuple(indices)) {
    Tensor t;
    SW_CHECK_TYPE(item.is_none() || unwrap(item.ptr(), t), "index_put: expected tensors or None as indices, got ",
                  Py_TYPE(item.ptr())->tp_name);
    out.push_back(t);
  }
  return out;
}

bool contains(const Tensor& x, const Tensor& value) {
  const Tensor found = any(compare(BinaryOp::Eq, x, value));
  return *found.data_as<bool>();
}

// nonzero as one (count, dim) tensor, or as a tuple of indices per dimension.
py::object nonzero_any(const Tensor& x, bool as_tuple) {
  const Tensor found = nonzero(x);
  if (!as_tuple) return py::cast(found);
  py::list parts;
  for (const Tensor& part : unbind(found, 1)) parts.append(part);
  return py::tuple(parts);
}

void bind_items(py::module_& m) {
  plain_method(m, "__getitem__", &get_item);
  plain_method(m, "__setitem__", &set_item);
  plain_method(m, "__contains__", &contains);
  plain_method(m, "__iter__", [](const Tensor& x) {
    SW_CHECK_TYPE(x.dim() > 0, "iteration over a 0-d tensor");
    return py::iter(py::cast(unbind(x, 0)));
  });
  plain_method(
      m, "index_put_",
      [](const Tensor& x, const py::object& indices, const Tensor& values, bool accumulate) {
        return index_put_(x, read_indices(indices), values, accumulate);
      },
      "self"_a, "indices"_a, "values"_a, "accumulate"_a = false, "index_put in place; returns the tensor.");
  m.def(
      "index_put",
      [](const Tensor& x, const py::object& indices, const Tensor& values, bool accumulate) {
        return index_put(x, read_indices(indices), values, accumulate);
      },
      "input"_a, "indices"_a, "values"_a, "accumulate"_a = false,
      "A copy of input after input[indices] = values, or += with accumulate (duplicates add up). indices: a tuple of "
      "integer or bool tensors, or None for a whole dimension; values are broadcast to the indexed shape (ShapeError "
      "where they cannot be). IndexError for a position out of range.");
  add_method("index_put", m.attr("index_put"));
}

void bind_lines(py::module_& m) {
  both(m, "index_select", &index_select, "input"_a, "dim"_a, "index"_a,
       "The entries of dimension dim at the positions in index (1-D).");
  method(m, "index_add_", &index_add_, "self"_a, "dim"_a, "index"_a, "source"_a, py::kw_only(), "alpha"_a = 1,
         "Adds alpha * source at the positions in index (1-D) along dim, in place; duplicates add up.");
  method(m, "index_copy_", &index_copy_, "self"_a, "dim"_a, "index"_a, "source"_a,
         "Stores source at the positions in index (1-D) along dim, in place.");
  method(m, "index_fill_", &index_fill_, "self"_a, "dim"_a, "index"_a, "value"_a,
         "Stores a number at the positions in index (1-D) along dim, in place.");
  both(
      m, "index_add",
      [](const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source, double alpha) {
        return index_add_(clone(x), dim, index, source, alpha);
      },
      "input"_a, "dim"_a, "index"_a, "source"_a, py::kw_only(), "alpha"_a = 1,
      "input with source added at the positions in index along dim; duplicates add up.");
  both(
      m, "index_copy",
      [](const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
        return index_copy_(clone(x), dim, index, source);
      },
      "input"_a, "dim"_a, "index"_a, "source"_a, "input with source stored at the positions in index along dim.");
  both(
      m, "index_fill",
      [](const Tensor& x, int64_t dim, const Tensor& index, const Tensor& value) {
        return index_fill_(clone(x), dim, index, value);
      },
      "input"_a, "dim"_a, "index"_a, "value"_a, "input with a number stored at the positions in index along dim.");
  both(m, "gather", &gather, "input"_a, "dim"_a, "index"_a,
       "y[i][j][k] = input[i][index[i][j][k]][k] for dim = 1: picks along dim, of the shape of index.");
  both(
      m, "take_along_dim", [](const Tensor& x, const Tensor& index, int64_t dim) { return gather(x, dim, index); },
      "input"_a, "indices"_a, "dim"_a, "gather with NumPy's order of arguments.");
  for (const char* source : {"src", "value"}) {
    both(m, "scatter", &scatter, "input"_a, "dim"_a, "index"_a, py::arg(source),
         "gather backwards: a copy of input with y[i][index[i][j][k]][k] = src[i][j][k] for dim = 1, or a number in "
         "all those places. IndexError for a position out of range.");
  }
  method(m, "scatter_add_", &scatter_add_, "self"_a, "dim"_a, "index"_a, "src"_a,
         "Adds src at index along dim, in place and in row-major order; returns the tensor.");
  both(m, "scatter_add", &scatter_add, "input"_a, "dim"_a, "index"_a, "src"_a,
       "gather backwards: a copy of input with src added at index along dim, in row-major order.");
  function(m, "_scatter_", &scatter_, "input"_a, "dim"_a, "index"_a, "src"_a, "scatter in place; returns the tensor.");
  function(m, "_scatter_", &scatter_, "input"_a, "dim"_a, "index"_a, "value"_a);
  add_method("scatter_", m.attr("_scatter_"));
  both(m, "take", &take, "input"_a, "index"_a, "Elements of the flattened input at index.");
  both(m, "masked_select", &masked_select, "input"_a, "mask"_a,
       "The elements where mask (bool, broadcast) is true, in one dimension.");
  function(
      m, "embedding",
      [](const Tensor& index, const Tensor& weight, std::optional<int64_t> padding_idx) {
        return embedding(weight, index, padding_idx);
      },
      "input"_a, "weight"_a, "padding_idx"_a = py::none(),
      "weight[input]: (...) of int64 and (V, D) give (..., D). The row padding_idx gets no gradient. IndexError out of "
      "range.");
}

}  // namespace

SW_BINDINGS(index) {
  core = m;
  bind_items(m);
  bind_lines(m);
  constexpr const char* nonzero_doc =
      "Positions of elements that are not zero, one row each (int64); as_tuple: one tensor per dimension.";
  m.def("nonzero", &nonzero_any, "input"_a, py::kw_only(), "as_tuple"_a = false, nonzero_doc);
  plain_method(m, "nonzero", &nonzero_any, "self"_a, "as_tuple"_a = false, nonzero_doc);
  both(m, "argwhere", &nonzero, "input"_a, "Positions of elements that are not zero, one row each.");
  function(
      m, "one_hot", &one_hot, "tensor"_a, "num_classes"_a = -1,
      "int64 (..., num_classes) with a one at each class; -1 counts the classes. IndexError for a class out of range.");
  both(m, "tril", &tril, "input"_a, "diagonal"_a = 0, "The elements on and below a diagonal; the others are 0.");
  both(m, "triu", &triu, "input"_a, "diagonal"_a = 0, "The elements on and above a diagonal; the others are 0.");
  both(m, "diag", &diag, "input"_a, "diagonal"_a = 0, "The diagonal of a matrix, or a matrix with the given diagonal.");
  both(m, "diag_embed", &diag_embed, "input"_a, "offset"_a = 0, "Matrices with the last dimension on their diagonals.");
  both(m, "bincount", &bincount, "input"_a, "weights"_a = py::none(), "minlength"_a = 0,
       "How often each value from 0 occurs, or the sum of its weights.");
  function(
      m, "searchsorted",
      [](const Tensor& sorted, const Tensor& values, bool right) { return searchsorted(sorted, values, right); },
      "sorted_sequence"_a, "input"_a, py::kw_only(), "right"_a = false,
      "Where values would have to stand to keep a sequence sorted; right: behind equal ones.");
}

}  // namespace skipway::bindings

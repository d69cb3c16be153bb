#include "ops/random.h"

#include <optional>

#include "bindings/bindings.h"
#include "ops/copy.h"

namespace skipway::bindings {
namespace {

// Seeds are integers in [-2^63, 2^64), as in PyTorch; negative ones wrap.
uint64_t seed_of(const py::object& given) {
  SW_CHECK_TYPE(PyIndex_Check(given.ptr()) || PyFloat_Check(given.ptr()), "manual_seed: expected an integer, got ",
                std::string(py::repr(given)));
  const py::int_ seed(given);
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(seed.ptr(), &overflow);
  if (overflow == 0) return uint64_t(value);
  const unsigned long long large = overflow > 0 ? PyLong_AsUnsignedLongLong(seed.ptr()) : 0;
  if (overflow < 0 || PyErr_Occurred()) {
    PyErr_Clear();
    throw ValueError("manual_seed: expected a seed in [-2**63, 2**64), got " + std::string(py::str(seed)));
  }
  return large;
}

int64_t integer_of(const char* op, const char* arg, const py::object& given) {
  SW_CHECK_TYPE(PyIndex_Check(given.ptr()), op, ": expected an integer as ", arg, ", got ",
                std::string(py::repr(given)));
  return given.cast<int64_t>();
}

// What the creation functions have in common.
struct Options {
  DType dtype;
  Device device;
  bool requires_grad = false;
};

Options options_of(const char* op, const py::object& dtype, const py::object& device, bool requires_grad,
                   DType otherwise = DType::Float32, Device there = {}) {
  Options o{otherwise, there, requires_grad};
  SW_CHECK_TYPE(dtype.is_none() || load_dtype(dtype.ptr(), o.dtype), op, ": expected a dtype, got ",
                std::string(py::repr(dtype)));
  SW_CHECK_TYPE(device.is_none() || load_device(device.ptr(), o.device), op, ": expected a device, got ",
                std::string(py::repr(device)));
  SW_CHECK_TYPE(!requires_grad || is_floating(o.dtype), op, ": only floating tensors can require grad, got ", o.dtype);
  return o;
}

// Fills `out`, or a new tensor, by f(tensor) with the GIL released.
template <class F>
Tensor create(const char* op, const Shape& shape, const Options& o, const py::object& out, const F& f) {
  Tensor t;
  if (out.is_none()) {
    for (int64_t size : shape) SW_CHECK_SHAPE(size >= 0, op, ": expected sizes >= 0, got ", shape);
    t = empty(shape, o.dtype, o.device);
  } else {
    SW_CHECK_TYPE(unwrap(out.ptr(), t), op, ": out must be a tensor");
    SW_CHECK_SHAPE(t.shape() == shape, op, ": out has shape ", t.shape(), ", expected ", shape);
  }
  {
    py::gil_scoped_release released;
    f(t);
  }
  if (o.requires_grad) t.impl()->requires_grad = true;
  return t;
}

Shape size_of_args(const py::args& args, const py::object& size, const char* op) {
  if (size.is_none()) return shape_from_args(args, op);
  Shape shape;
  SW_CHECK_TYPE(args.empty() && load_shape(size.ptr(), shape), op, ": expected size to be a sequence of integers, got ",
                std::string(py::repr(size)));
  return shape;
}

template <Tensor (*Fill)(const Tensor&, double, double, const GeneratorPtr&)>
void def_real(py::module_& m, const char* name, const char* like, const char* what) {
  m.def(
      name,
      [name](const py::args& args, const py::object& size, const GeneratorPtr& generator, const py::object& out,
             const py::object& dtype, const py::object&, const py::object& device, bool requires_grad, bool) {
        const Shape shape = size_of_args(args, size, name);
        return create(name, shape, options_of(name, dtype, device, requires_grad), out,
                      [&](const Tensor& t) { Fill(t, 0, 1, generator); });
      },
      py::kw_only(), "size"_a = py::none(), "generator"_a = py::none(), "out"_a = py::none(), "dtype"_a = py::none(),
      "layout"_a = py::none(), "device"_a = py::none(), "requires_grad"_a = false, "pin_memory"_a = false,
      (std::string("A tensor of the given sizes, filled with ") + what + ".").c_str());
  m.def(
      like,
      [like](const Tensor& input, const GeneratorPtr& generator, const py::object& dtype, const py::object&,
             const py::object& device, bool requires_grad, const py::object&, bool) {
        check_defined(like, "input", input);
        return create(like, input.shape(),
                      options_of(like, dtype, device, requires_grad, input.dtype(), input.device()), py::none(),
                      [&](const Tensor& t) { Fill(t, 0, 1, generator); });
      },
      "input"_a, py::kw_only(), "generator"_a = py::none(), "dtype"_a = py::none(), "layout"_a = py::none(),
      "device"_a = py::none(), "requires_grad"_a = false, "memory_format"_a = py::none(), "pin_memory"_a = false,
      (std::string("A tensor of input's shape, filled with ") + what + ".").c_str());
}

// randint(high, size), randint(low, high, size)
struct IntegerRange {
  int64_t low = 0, high = 0;
};
IntegerRange range_of(const char* op, const py::args& args, const py::object& low, const py::object& high) {
  const size_t n = args.size();
  SW_CHECK_TYPE(n <= 2, op, ": expected (high) or (low, high) before the size, got ", n, " arguments");
  IntegerRange r;
  if (!low.is_none()) r.low = integer_of(op, "low", low);
  if (n == 2) r.low = integer_of(op, "low", args[0]);
  SW_CHECK_TYPE(n > 0 || !high.is_none(), op, ": high is missing");
  r.high = integer_of(op, "high", n > 0 && high.is_none() ? py::object(args[n - 1]) : high);
  if (n == 1 && !high.is_none()) r.low = integer_of(op, "low", args[0]);
  SW_CHECK_VALUE(r.low < r.high, op, ": expected low < high, got low=", r.low, " and high=", r.high);
  return r;
}

Tensor randint(const py::args& args, const py::object& low, const py::object& high, const py::object& size,
               const GeneratorPtr& generator, const py::object& out, const py::object& dtype, const py::object&,
               const py::object& device, bool requires_grad, bool) {
  py::object sizes = size;
  py::args bounds = args;
  if (size.is_none()) {
    SW_CHECK_TYPE(args.size() > 0, "randint: size is missing");
    sizes = args[args.size() - 1];
    bounds = py::args(args[py::slice(0, py::ssize_t(args.size()) - 1, 1)]);
  }
  Shape shape;
  SW_CHECK_TYPE(!PyLong_Check(sizes.ptr()) && load_shape(sizes.ptr(), shape),
                "randint: expected size to be a sequence of integers, got ", std::string(py::repr(sizes)));
  const IntegerRange r = range_of("randint", bounds, low, high);
  return create("randint", shape, options_of("randint", dtype, device, requires_grad, DType::Int64), out,
                [&](const Tensor& t) { random_(t, r.low, r.high, generator); });
}

Tensor randint_like(const Tensor& input, const py::args& args, const py::object& low, const py::object& high,
                    const GeneratorPtr& generator, const py::object& dtype, const py::object&, const py::object& device,
                    bool requires_grad, const py::object&) {
  check_defined("randint_like", "input", input);
  const IntegerRange r = range_of("randint_like", args, low, high);
  return create("randint_like", input.shape(),
                options_of("randint_like", dtype, device, requires_grad, input.dtype(), input.device()), py::none(),
                [&](const Tensor& t) { random_(t, r.low, r.high, generator); });
}

Tensor normal_of(const Tensor& mean, const Tensor& std, const py::object& size, const GeneratorPtr& generator,
                 const py::object& out, const py::object& dtype, const py::object&, const py::object& device,
                 bool requires_grad, bool) {
  if (size.is_none() && out.is_none()) {
    py::gil_scoped_release released;
    return normal(mean, std, generator);
  }
  check_defined("normal", "mean", mean);
  check_defined("normal", "std", std);
  Shape shape;
  Tensor target;
  if (size.is_none()) {
    SW_CHECK_TYPE(unwrap(out.ptr(), target), "normal: out must be a tensor");
    shape = target.shape();
  } else {
    SW_CHECK_TYPE(load_shape(size.ptr(), shape), "normal: expected size to be a sequence of integers, got ",
                  std::string(py::repr(size)));
  }
  SW_CHECK_SHAPE(mean.weak() && std.weak(), "normal: with a size, mean and std are numbers");
  const auto number = [](const Tensor& t) {
    return t.dtype() == DType::Float64   ? *t.data_as<double>()
           : t.dtype() == DType::Float32 ? double(*t.data_as<float>())
                                         : double(*t.data_as<int64_t>());
  };
  return create("normal", shape, options_of("normal", dtype, device, requires_grad), out,
                [&](const Tensor& t) { normal_(t, number(mean), number(std), generator); });
}

Tensor randperm_of(int64_t n, const GeneratorPtr& generator, const py::object& dtype, const py::object&,
                   const py::object& device, bool requires_grad, bool) {
  const Options o = options_of("randperm", dtype, device, requires_grad, DType::Int64);
  py::gil_scoped_release released;
  return to(randperm(n, o.dtype, generator), o.device);
}

Tensor random_in_place(const Tensor& x, std::optional<int64_t> from, std::optional<int64_t> to,
                       const GeneratorPtr& generator) {
  if (!from) return random_full_(x, generator);
  return to ? random_(x, *from, *to, generator) : random_(x, 0, *from, generator);
}

Tensor bernoulli_of(const Tensor& input, std::optional<double> p, const GeneratorPtr& generator) {
  if (!p) return bernoulli(input, generator);
  check_floating("bernoulli", "input", input);
  return bernoulli_(empty_like(input), *p, generator);
}

std::vector<uint32_t> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  const PhiloxBlock b = philox4x32_10({key, counter_high}, counter_low);
  return {b.word, b.word + 4};
}

void bind_generator(py::module_& m) {
  py::class_<Generator, GeneratorPtr>(
      m, "Generator", "A source of random numbers (Philox4x32-10): a seed and a count of the ops served.")
      .def(py::init<Device>(), "device"_a = Device{})
      .def(
          "manual_seed",
          [](const GeneratorPtr& g, const py::object& seed) {
            g->manual_seed(seed_of(seed));
            return g;
          },
          "seed"_a, "Sets the seed, starts again at the first op, and returns the generator.")
      .def("seed", &Generator::seed, "Takes a seed from the system's entropy and returns it.")
      .def("initial_seed", &Generator::initial_seed, "The seed in use.")
      .def("get_state", &Generator::get_state, "The state as a uint8 tensor of 16 elements.")
      .def("set_state", &Generator::set_state, "new_state"_a, "Goes on from a state that get_state returned.")
      .def_property_readonly("device", &Generator::device, "The device whose tensors it fills.")
      .def(py::pickle([](const Generator& g) { return py::make_tuple(g.device(), g.key().seed, g.key().offset); },
                      [](const py::tuple& t) {
                        auto g = std::make_shared<Generator>(t[0].cast<Device>());
                        g->set_key({t[1].cast<uint64_t>(), t[2].cast<uint64_t>()});
                        return g;
                      }))
      .def("__copy__", [](const Generator& g) { return g.clone(); })
      .def("__deepcopy__", [](const Generator& g, const py::object&) { return g.clone(); }, "memo"_a);
  m.attr("default_generator") = default_generator();
  m.def(
      "manual_seed",
      [](const py::object& seed) {
        default_generator()->manual_seed(seed_of(seed));
        return default_generator();
      },
      "seed"_a, "Seeds the default generator and returns it.");
  m.def("seed", [] { return default_generator()->seed(); }, "Seeds the default generator from the system's entropy.");
  m.def("initial_seed", [] { return default_generator()->initial_seed(); }, "The default generator's seed.");
  m.def("get_rng_state", [] { return default_generator()->get_state(); }, "The default generator's state.");
  m.def(
      "set_rng_state", [](const Tensor& state) { default_generator()->set_state(state); }, "new_state"_a,
      "Sets the default generator's state.");
  m.def("_philox4x32_10", &philox, "key"_a, "counter_low"_a, "counter_high"_a);
}

}  // namespace

SW_BINDINGS(random) {
  bind_generator(m);
  const py::none none;
  def_real<&uniform_>(m, "rand", "rand_like", "uniform numbers in [0, 1)");
  def_real<&normal_>(m, "randn", "randn_like", "standard normal numbers");
  m.def("randint", &randint, py::kw_only(), "low"_a = none, "high"_a = none, "size"_a = none, "generator"_a = none,
        "out"_a = none, "dtype"_a = none, "layout"_a = none, "device"_a = none, "requires_grad"_a = false,
        "pin_memory"_a = false, "randint(high, size) or randint(low, high, size): integers in [low, high), int64.");
  m.def("randint_like", &randint_like, "input"_a, py::kw_only(), "low"_a = none, "high"_a = none, "generator"_a = none,
        "dtype"_a = none, "layout"_a = none, "device"_a = none, "requires_grad"_a = false, "memory_format"_a = none,
        "randint_like(input, high) or randint_like(input, low, high): integers in [low, high), low 0 unless given, of "
        "input's shape, and of its dtype unless dtype is given. ValueError unless low < high.");
  m.def("randperm", &randperm_of, "n"_a, py::kw_only(), "generator"_a = none, "dtype"_a = none, "layout"_a = none,
        "device"_a = none, "requires_grad"_a = false, "pin_memory"_a = false, "A random permutation of 0 to n - 1.");
  m.def("normal", &normal_of, "mean"_a = 0.0, "std"_a = 1.0, "size"_a = none, py::kw_only(), "generator"_a = none,
        "out"_a = none, "dtype"_a = none, "layout"_a = none, "device"_a = none, "requires_grad"_a = false,
        "pin_memory"_a = false,
        "Normal numbers: of tensors mean and std, one for each element; of numbers, a tensor of the given size.");
  constexpr const char* bernoulli_doc =
      "1 with probability input (or p), else 0; of input's shape and dtype. ValueError for a probability outside [0, "
      "1].";
  function(m, "bernoulli", &bernoulli_of, "input"_a, "p"_a = none, py::kw_only(), "generator"_a = none, bernoulli_doc);
  both(m, "multinomial", &multinomial, "input"_a, "num_samples"_a, "replacement"_a = false, py::kw_only(),
       "generator"_a = none, "Indices drawn by the weights of each row, without replacement unless asked for.");

  method(m, "uniform_", &uniform_, "self"_a, "from"_a = 0.0, "to"_a = 1.0, py::kw_only(), "generator"_a = none,
         "Fills the tensor with uniform numbers in [from, to) and returns it. ValueError where from > to.");
  method(m, "normal_", &normal_, "self"_a, "mean"_a = 0.0, "std"_a = 1.0, py::kw_only(), "generator"_a = none,
         "Fills the tensor with normal numbers (Box and Muller 1958) and returns it. ValueError for a negative std.");
  method(m, "exponential_", &exponential_, "self"_a, "lambd"_a = 1.0, py::kw_only(), "generator"_a = none,
         "Fills the tensor with exponential numbers of rate lambd (mean 1 / lambd) and returns it. ValueError unless "
         "lambd > 0.");
  method(
      m, "random_", &random_in_place, "self"_a, "from"_a = none, "to"_a = none, py::kw_only(), "generator"_a = none,
      "random_(), random_(to) or random_(from, to): fills the tensor with integers in [from, to) and returns it; from "
      "0 unless given, and without `to` all integers that the dtype holds exactly. ValueError unless from < to.");
  method(m, "bernoulli", &bernoulli_of, "self"_a, "p"_a = none, py::kw_only(), "generator"_a = none, bernoulli_doc);
  method(
      m, "bernoulli_",
      [](const Tensor& x, const Tensor& p, const GeneratorPtr& generator) {
        check_defined("bernoulli_", "p", p);
        if (p.weak() && p.dtype() == DType::Float64) return bernoulli_(x, *p.data_as<double>(), generator);
        return bernoulli_(x, p, generator);
      },
      "self"_a, "p"_a = 0.5, py::kw_only(), "generator"_a = none,
      "Fills the tensor with 1 (probability p: a number or a tensor that broadcasts) and 0, and returns it. ValueError "
      "for a probability outside [0, 1].");
  function(m, "trunc_normal_", &trunc_normal_, "tensor"_a, "mean"_a = 0.0, "std"_a = 1.0, "a"_a = -2.0, "b"_a = 2.0,
           "generator"_a = none, "Fills tensor with normal numbers conditioned to lie in [a, b].");
}

}  // namespace skipway::bindings

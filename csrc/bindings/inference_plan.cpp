#include "ops/inference_plan.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(inference_plan) {
  using Release = py::call_guard<py::gil_scoped_release>;
  using Plan = InferencePlan;
  py::class_<Plan>(m, "InferencePlan",
                   "A list of ops on numbered values (0: the input), run without Python between them. Each method adds "
                   "an op and returns the number of its result. ValueError for a value that does not exist yet.")
      .def(py::init<>())
      .def("conv2d", &Plan::conv2d, "x"_a, "weight"_a, "bias"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a,
           "residual"_a = -1, "relu"_a = false, "relu(conv2d + residual): residual is the number of a value, or -1.")
      .def("residual_add", &Plan::residual_add, "x"_a, "y"_a, "relu"_a = false, "relu(x + y)")
      .def("relu", &Plan::relu, "x"_a, "max(x, 0)")
      .def("linear", &Plan::linear, "x"_a, "weight"_a, "bias"_a, "x w^T + bias")
      .def("max_pool2d", &Plan::max_pool2d, "x"_a, "kernel_size"_a, "stride"_a, "padding"_a, "dilation"_a,
           "ceil_mode"_a, "functional.max_pool2d")
      .def("adaptive_avg_pool2d", &Plan::adaptive_avg_pool2d, "x"_a, "output_size"_a, "functional.adaptive_avg_pool2d")
      .def("flatten", &Plan::flatten, "x"_a, "start_dim"_a, "Dimensions from start_dim on as one.")
      .def("run", &Plan::run, "input"_a, Release(), "The last value. ShapeError where the input does not fit.")
      .def("__len__", &Plan::size, "How many ops there are.");
}

}  // namespace skipway::bindings

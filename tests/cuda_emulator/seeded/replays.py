"""Bugs that only the replays of a captured step show: what must be read anew in each of them is not."""

from .bug import WRONG_NUMBERS, bug

bug(
    "mask_of_the_capture",
    source="dropout",
    call="dropout_in_a_graph",
    kernel="dropout_elements",
    report=WRONG_NUMBERS,
    find="  key = resolved(key);\n  const int64_t tasks",
    replacement="  const int64_t tasks",
)
bug(
    "learning_rate_of_the_capture",
    source="optimizer_step",
    call="sgd_in_a_graph",
    kernel="step_tensors",
    report=WRONG_NUMBERS,
    find="  if (list.options) step.o = *static_cast<const decltype(step.o)*>(list.options);\n",
    replacement="",
)
bug(
    "table_on_the_stack",
    source="optimizer_step",
    file="launch.cuh",
    call="sgd_in_a_graph",
    kernel="",
    report="a captured copy of pageable host memory",
    find="  from = kept_for_replays(stream, from, bytes);\n",
    replacement="",
)
bug(
    "step_that_is_not_left_out",
    source="optimizer_step",
    call="scaled_adam_in_a_graph",
    kernel="step_tensors",
    report="read of uninitialised global memory",
    find="  if (list.found_inf && *list.found_inf != 0) return;\n",
    replacement="",
)
bug(
    "counts_in_one_place",
    source="optimizer_step",
    call="scaled_adam_in_a_graph",
    kernel="count_steps",
    report="global memory race (write after write)",
    find="    step.scales(t, scales + 2 * i);",
    replacement="    step.scales(t, scales);",
)

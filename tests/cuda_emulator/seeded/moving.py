"""Bugs in kernels that move or map elements: packs and tails, tiles, positions."""

from .bug import WRONG_NUMBERS, bug

# ---- packs and tails (residual)

bug(
    "missing_tail",
    source="residual",
    file="pack.cuh",
    call="residual",
    kernel="residual_add",
    report=WRONG_NUMBERS,
    find="    for (int64_t i = packs * N + first; i < n; i += stride) f(i, Type<char[1]>{});\n",
    replacement="",
)
bug(
    "tail_one_too_far",
    source="residual",
    file="pack.cuh",
    call="residual",
    kernel="residual_add",
    report="global memory read out of bounds",
    find="for (int64_t i = packs * N + first; i < n; i",
    replacement="for (int64_t i = packs * N + first; i <= n; i",
)
bug(
    "pack_over_the_end",
    source="residual",
    file="pack.cuh",
    call="residual",
    kernel="residual_add",
    report="global memory read out of bounds",
    find="const int64_t packs = n / N, stride",
    replacement="const int64_t packs = (n + N - 1) / N, stride",
)
bug(
    "blocks_do_the_same_work",
    source="residual",
    file="pack.cuh",
    call="residual",
    kernel="residual_add",
    report="global memory race (write after write)",
    find="const int64_t first = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;\n  for (int64_t i = first; i < packs",
    replacement="const int64_t first = threadIdx.x;\n  for (int64_t i = first; i < packs",
)
bug(
    "stride_of_one_block",
    source="residual",
    file="pack.cuh",
    call="residual",
    kernel="residual_add",
    report="global memory race (write after write)",
    find="stride = int64_t(gridDim.x) * blockDim.x;",
    replacement="stride = blockDim.x;",
)
bug(
    "packs_that_are_not_aligned",
    source="residual",
    call="residual_misaligned",
    kernel="residual_add",
    report="misaligned access",
    find="const bool packs = packs_at<T>(x, 0) && packs_at<T>(branch, 0) && packs_at<T>(y, 0);",
    replacement="const bool packs = true;",
)
bug(
    "gradient_that_nobody_wants",
    source="residual",
    file="grad.cuh",
    call="residual_backward_of_one",
    kernel="residual_add_grad",
    report="write through a pointer that is not device memory",
    find="  if (mode == GradMode::Skip) return;\n",
    replacement="",
)
bug(
    "adds_to_what_is_not_there",
    source="residual",
    file="grad.cuh",
    call="residual_backward",
    kernel="residual_add_grad",
    report="read of uninitialised global memory",
    find="if (mode == GradMode::Add) {",
    replacement="if (mode != GradMode::Skip) {",
)
bug(
    "too_many_threads",
    source="residual",
    call="residual",
    kernel="residual_add",
    report="impossible launch",
    find="constexpr int kThreads = 256;",
    replacement="constexpr int kThreads = 2048;",
)

# ---- a tile in shared memory (copy)

bug(
    "no_barrier_after_filling_the_tile",
    source="copy",
    call="transpose",
    kernel="copy_transposed",
    report="shared memory race (read after write)",
    find="    __syncthreads();\n    for (int r = y;",
    replacement="    for (int r = y;",
)
bug(
    "no_barrier_before_the_next_tile",
    source="copy",
    call="transpose_many",
    kernel="copy_transposed",
    report="shared memory race (write after read)",
    find="tile.v[r][x];\n    __syncthreads();\n",
    replacement="tile.v[r][x];\n",
)
bug(
    "tile_too_small",
    source="copy",
    call="transpose",
    kernel="copy_transposed",
    report="array index out of bounds",
    find="U v[kTile][kTile + 1];",
    replacement="U v[kTile][kTile - 1];",
)
bug(
    "reads_beyond_what_was_filled",
    source="copy",
    call="transpose",
    kernel="copy_transposed",
    report="read of uninitialised shared memory",
    find="= tile.v[r][x];",
    replacement="= tile.v[r][x + 1];",
)
bug(
    "no_bounds_check",
    source="copy",
    call="transpose",
    kernel="copy_transposed",
    report="global memory write out of bounds",
    find="if (row0 + r < t.rows && col0 + x < t.cols) to[",
    replacement="to[",
)
bug(
    "rows_and_columns_mixed_up",
    source="copy",
    call="transpose",
    kernel="copy_transposed",
    report=WRONG_NUMBERS,
    find="if (row0 + x < t.rows && col0 + c < t.cols) "
    "tile.v[x][c] = from[source + (col0 + c) * t.from_stride + row0 + x];",
    replacement="if (row0 + x < t.rows && col0 + c < t.cols)\n"
    "        tile.v[x][c] = from[source + (col0 + x) % t.cols * t.from_stride + (row0 + c) % t.rows];",
)
bug(
    "early_return_before_a_barrier",
    source="copy",
    call="transpose",
    kernel="copy_transposed",
    report="barrier divergence: __syncthreads is not reached by threads that have exited",
    find="    __syncthreads();\n    for (int r = y;",
    replacement="    if (col0 + x >= t.cols) return;\n    __syncthreads();\n    for (int r = y;",
)
bug(
    "wrong_stride",
    source="copy",
    file="walk.cuh",
    call="strided_copy",
    kernel="copy_elements",
    report="global memory read out of bounds",
    find="return at + int64_t(rest) * strides[0];",
    replacement="return at + int64_t(rest) * strides[0] * 2;",
)
bug(
    "division_off_by_one",
    source="copy",
    file="walk.cuh",
    call="strided_copy",
    kernel="copy_elements",
    report="read through a pointer that is not device memory",
    find="return (__umulhi(n, multiplier) + n) >> shift;",
    replacement="return ((__umulhi(n, multiplier) + n) >> shift) + 1;",
)
bug(
    "element_of_another_size",
    source="copy",
    file="walk.cuh",
    call="converted",
    kernel="copy_converted",
    report="global memory read out of bounds",
    find="      return T(static_cast<const float*>(p)[i]);",
    replacement="      return T(static_cast<const double*>(p)[i]);",
)

# ---- rows and positions (index)

bug(
    "index_of_the_size_itself",
    source="index",
    call="gather_beyond",
    kernel="get_elements",
    report="global memory read out of bounds",
    find="|| k >= size)",
    replacement="|| k > size)",
)
bug(
    "fault_without_an_atomic_operation",
    source="index",
    file="launch.cuh",
    call="gather_beyond",
    kernel="find_offsets",
    report="race",
    find="  if (atomicCAS(&fault->state, 0, 1) != 0) return;\n",
    replacement="  if (fault->state != 0) return;\n  fault->state = 1;\n",
)
bug(
    "rows_that_are_not_aligned",
    source="index",
    call="gather_rows",
    kernel="get_rows",
    report="misaligned access",
    find="    } else if (aligned) {",
    replacement="    } else if (bytes % 16 == 0) {",
)
bug(
    "lanes_take_the_same_bytes",
    source="index",
    call="gather_rows",
    kernel="get_rows",
    report="global memory race (write after write)",
    find="for (int64_t b = lane * 16; b < bytes; b += kWarp * 16)",
    replacement="for (int64_t b = lane * 8 / 16 * 16; b < bytes; b += kWarp * 16)",
)
bug(
    "equal_positions_all_write",
    source="index",
    call="scatter",
    kernel="put_elements",
    report="global memory race (write after write)",
    find="    if (a.order && p.position + 1 < a.count && a.offsets[a.order[p.position + 1]] == offset) continue;\n",
    replacement="",
)
bug(
    "equal_positions_all_add",
    source="index",
    call="scatter_add",
    kernel="add_elements",
    report="global memory race",
    find="    if (a.order && p.position > 0 && a.offsets[a.order[p.position - 1]] == offset) continue;\n",
    replacement="",
)

# ---- runs of elements with a short end (activation)

bug(
    "whole_pack_at_the_end",
    source="activation",
    file="elementwise.cuh",
    call="relu",
    kernel="activation_packs",
    report="global memory write out of bounds",
    find="      if (k < count) p[k] = T(values[k]);\n",
    replacement="      p[k] = T(values[k]);\n",
)
bug(
    "walk_that_is_not_aligned",
    source="activation",
    file="elementwise.cuh",
    call="relu_misaligned",
    kernel="activation_packs",
    report="misaligned access",
    find="  if (reinterpret_cast<uintptr_t>(w.data) % uintptr_t(size_of(d) * n) != 0) return false;\n",
    replacement="",
)
bug(
    "stride_of_a_thread_less",
    source="activation",
    file="elementwise.cuh",
    call="relu",
    kernel="activation_packs",
    report="global memory race (write after write)",
    find="stride = int64_t(gridDim.x) * blockDim.x;",
    replacement="stride = int64_t(gridDim.x) * blockDim.x / 2;",
)

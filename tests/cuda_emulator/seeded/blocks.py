"""Bugs in kernels whose threads work together: sums of a block, tiles of a product."""

from .bug import WRONG_NUMBERS, bug

# ---- sums of a block (the norm of gradients)

bug(
    "no_barrier_between_two_sums",
    source="optimizer_step",
    file="reduce.cuh",
    call="grad_norm",
    kernel="sum_powers",
    report="shared memory race (write after read)",
    find="    __syncthreads();  // whoever read `part` last is done\n",
    replacement="",
)
bug(
    "no_barrier_before_the_parts_are_read",
    source="optimizer_step",
    file="reduce.cuh",
    call="grad_norm",
    kernel="sum_powers",
    report="shared memory race (read after write)",
    find="part[warp] = v;\n    __syncthreads();\n",
    replacement="part[warp] = v;\n",
)
bug(
    "mask_of_half_a_warp",
    source="optimizer_step",
    file="reduce.cuh",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report="a lane calls a warp operation that its mask does not name",
    find="__shfl_xor_sync(kFullWarp,",
    replacement="__shfl_xor_sync(0x0000ffffu,",
)
bug(
    "one_part_too_many",
    source="optimizer_step",
    file="reduce.cuh",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report="shared memory read out of bounds",
    find="lane < kThreads / kWarp ?",
    replacement="lane <= kThreads / kWarp ?",
)
bug(
    "a_part_is_not_written",
    source="optimizer_step",
    file="reduce.cuh",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report="read of uninitialised shared memory",
    find="if (lane == 0) part[warp] = v;",
    replacement="if (lane == 0 && warp != 3) part[warp] = v;",
)
bug(
    "halves_that_do_not_meet",
    source="optimizer_step",
    file="reduce.cuh",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report=WRONG_NUMBERS,
    find="int distance = kWarp / 2; distance > 0;",
    replacement="int distance = kWarp / 2; distance > 1;",
)
bug(
    "threads_at_different_barriers",
    source="optimizer_step",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report="barrier divergence: threads wait at different __syncthreads",
    find="    const double total = largest ? reduce",
    replacement="    const double total = threadIdx.x >= 128 ? reduce",
)
bug(
    "warp_leaves_a_lane_behind",
    source="optimizer_step",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report="the mask of a warp operation names lanes that have exited",
    find="    const double total = largest ? reduce",
    replacement="    if (threadIdx.x % 32 == 31) return;\n    const double total = largest ? reduce",
)
bug(
    "chunk_longer_than_its_tensor",
    source="optimizer_step",
    call="sgd",
    kernel="step_tensors",
    report="global memory read out of bounds",
    find="? begin + kStepChunk : t.numel;\n    for_dtype(t.dtype, [&]<class T>(Type<T>) {\n      constexpr int N",
    replacement="? begin + kStepChunk : t.numel + 1;\n    for_dtype(t.dtype, [&]<class T>(Type<T>) {\n"
    "      constexpr int N",
)
bug(
    "table_that_is_gone",
    source="optimizer_step",
    call="grad_norm_of_one",
    kernel="sum_powers",
    report="use of freed memory",
    find="list{tensors_.as<StepTensor>(), list.count,",
    replacement="list{[&] { return Workspace(stream, 512).as<StepTensor>(); }(), list.count,",
)
bug(
    "table_that_was_never_copied",
    source="optimizer_step",
    call="sgd",
    kernel="step_tensors",
    report="read of uninitialised global memory",
    find="    upload(stream, tensors_.as<void>(), list.tensors, size_t(list.count) * sizeof(StepTensor));\n",
    replacement="",
)

# ---- tiles of a product (matmul), and of convolution

bug(
    "next_step_overtakes",
    source="matmul",
    file="tile.cuh",
    call="product",
    kernel="multiply",
    report="shared memory race (write after read)",
    find="    __syncthreads();  // the step before has been read\n",
    replacement="",
)
bug(
    "product_before_the_tile_is_there",
    source="matmul",
    file="tile.cuh",
    call="product",
    kernel="multiply",
    report="shared memory race (read after write)",
    find="    read_b.read(k0, k_end, s.b);\n    __syncthreads();\n",
    replacement="    read_b.read(k0, k_end, s.b);\n",
)
bug(
    "barrier_in_a_branch",
    source="matmul",
    file="tile.cuh",
    call="product",
    kernel="multiply",
    report="barrier divergence",
    find="    __syncthreads();  // the step before has been read\n",
    replacement="    if (n0 + column < n_size) __syncthreads();\n",
)
bug(
    "wrong_step_of_the_tile",
    source="matmul",
    file="tile.cuh",
    call="product",
    kernel="multiply",
    report="array index out of bounds",
    find="x[i] = s.a[k][row + i]",
    replacement="x[i] = s.a[k + 1][row + i]",
)
bug(
    "tile_over_the_edge",
    source="matmul",
    file="tile.cuh",
    call="product",
    kernel="multiply",
    report="global memory",
    find="      if (m0 + row + i < m_size && n0 + column + j < n_size) store(",
    replacement="      store(",
)
bug(
    "last_step_over_the_edge",
    source="matmul",
    file="tile.cuh",
    call="product",
    kernel="multiply",
    report="global memory read out of bounds",
    find="const bool some = k < end;",
    replacement="const bool some = k <= end;",
)
bug(
    "no_padding",
    source="conv_plain",
    call="convolution_forward",
    kernel="convolve",
    report="global memory read out of bounds",
    find="      if (i >= w.limit[d]) return 0;  // padding\n",
    replacement="",
)
bug(
    "sum_of_halves_without_a_barrier",
    source="conv_sums",
    call="convolution",
    kernel="sum_rows",
    report="shared memory race",
    find="v[me + half];\n    __syncthreads();\n",
    replacement="v[me + half];\n",
)
bug(
    "one_piece_too_many",
    source="conv_sums",
    call="convolution",
    kernel="add_pieces",
    report="global memory read out of bounds",
    find="for (int64_t p = 0; p < s.pieces; ++p)",
    replacement="for (int64_t p = 0; p <= s.pieces; ++p)",
)
bug(
    "pieces_in_freed_memory",
    source="conv_plain",
    call="convolution",
    kernel="add_pieces",
    report="use of freed memory",
    find="a.dtype,\n               partial.as<void>(),",
    replacement="a.dtype,\n               [&] { return Workspace(stream, size_t(count) * 4).as<void>(); }(),",
)

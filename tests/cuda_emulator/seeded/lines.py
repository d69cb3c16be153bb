"""Bugs in kernels that go along lines, draw random bits or sort: shuffles and votes, scans, sums of lines, networks."""

from .bug import bug

# ---- keep bits by warp votes (dropout)

bug(
    "vote_of_half_a_warp",
    source="dropout",
    call="dropout_channels_last",
    kernel="dropout_channels_last",
    report="a lane calls a warp operation that its mask does not name",
    find="__ballot_sync(kFullWarp,",
    replacement="__ballot_sync(0x0000ffffu,",
)
bug(
    "bits_before_they_are_drawn",
    source="dropout",
    call="dropout_channels_last",
    kernel="dropout_channels_last",
    report="shared memory race",
    find="    __syncthreads();\n    const int packs = nc / N",
    replacement="    const int packs = nc / N",
)
bug(
    "half_of_the_bits_is_not_stored",
    source="dropout",
    call="dropout_channels_last",
    kernel="dropout_channels_last",
    report="read of uninitialised shared memory",
    find="        bits.words[row * t.words + 2 * group + 1] = votes[2] | votes[3] << 16;\n",
    replacement="",
)
bug(
    "flags_of_rows_that_are_not_there",
    source="dropout",
    call="dropout_rows",
    kernel="channel_flags",
    report="global memory write out of bounds",
    find="if (row < rows) flags[row]",
    replacement="flags[row]",
)

# ---- running sums by shuffles (reduce_scan)

bug(
    "shuffle_in_a_branch",
    source="reduce_scan",
    call="running_sum",
    kernel="scan_lines",
    report="the mask of a warp operation names lanes that have exited",
    find="    const A before = __shfl_up_sync(kFullWarp, v, unsigned(distance) << log_x);\n    if (y >= distance) v = ",
    replacement="    if (y < distance) return v;\n"
    "    const A before = __shfl_up_sync(kFullWarp, v, unsigned(distance) << log_x);\n    v = ",
)
bug(
    "total_of_the_wrong_chunk",
    source="reduce_scan",
    call="running_sum_in_chunks",
    kernel="scan_lines",
    report="global memory read out of bounds",
    find="before = totals[-a.g.inner];",
    replacement="before = totals[a.g.inner];",
)
bug(
    "terms_of_other_lanes_without_waiting",
    source="reduce_scan",
    call="running_product_grad",
    kernel="cumprod_grad",
    report="global memory race (read after write)",
    find="    __syncwarp();  // the terms of the other lanes\n",
    replacement="",
)

# ---- sums of lines (softmax, cross_entropy)

bug(
    "line_sum_before_its_parts_are_there",
    source="softmax",
    file="lines.cuh",
    call="softmax_of_columns",
    kernel="softmax_lines",
    report="shared memory race (read after write)",
    find="    part.v[t] = v;\n    __syncthreads();\n",
    replacement="    part.v[t] = v;\n",
)
bug(
    "steps_of_a_line_sum_without_barriers",
    source="softmax",
    file="lines.cuh",
    call="softmax_of_columns",
    kernel="softmax_lines",
    report="shared memory race",
    find="part.v[t] = v = combine(v, part.v[t + distance]);\n      __syncthreads();\n",
    replacement="part.v[t] = v = combine(v, part.v[t + distance]);\n",
)
bug(
    "sum_over_a_part_of_the_threads",
    source="softmax",
    file="lines.cuh",
    call="softmax_of_columns",
    kernel="softmax_lines",
    report="read of uninitialised shared memory",
    find="    part.v[t] = v;\n    __syncthreads();\n",
    replacement="    if (t % 64 != 63) part.v[t] = v;\n    __syncthreads();\n",
)
bug(
    "shared_memory_for_one_array_of_two",
    source="softmax",
    call="softmax_grad",
    kernel="softmax_grad_lines",
    report="shared memory write out of bounds",
    find="lay_out<T, kPack<T>>(task, a.outer, a.n, 1, 2);",
    replacement="lay_out<T, kPack<T>>(task, a.outer, a.n, 1, 1);",
)
bug(
    "target_of_any_size",
    source="cross_entropy",
    call="cross_entropy_beyond",
    kernel="entropy_rows",
    report="global memory read out of bounds",
    find="if (t >= 0 && t < a.classes) return t;",
    replacement="if (t >= 0) return t;",
)
bug(
    "all_blocks_to_one_place",
    source="cross_entropy",
    call="cross_entropy",
    kernel="entropy_rows",
    report="global memory race (write after write)",
    find="a.block_sums[blockIdx.x] = {",
    replacement="a.block_sums[0] = {",
)
bug(
    "threads_without_a_row_go_on",
    source="cross_entropy",
    call="cross_entropy",
    kernel="entropy_rows",
    report="lanes of a warp meet at different warp operations",
    find="    SoftSum<A> soft;\n",
    replacement="    if (!p.inside) continue;\n    SoftSum<A> soft;\n",
)

# ---- a sorting network in shared memory (sort)

bug(
    "network_without_barriers",
    source="sort",
    call="sorted_lines",
    kernel="sort_tiles",
    report="shared memory race",
    find="      const int distance = 1 << half;\n      __syncthreads();\n",
    replacement="      const int distance = 1 << half;\n",
)
bug(
    "half_of_the_dynamic_shared_memory",
    source="sort",
    call="sorted_lines",
    kernel="sort_tiles",
    report="dynamic shared memory is smaller than its struct",
    find="kThreads, sizeof(SortBuffer<E>), stream.handle}, task);",
    replacement="kThreads, sizeof(SortBuffer<E>) / 2, stream.handle}, task);",
)
bug(
    "tiles_that_are_not_there",
    source="sort",
    call="sorted_lines",
    kernel="sort_tiles",
    report="global memory read out of bounds",
    find="if (tile < all && at < a.n) {",
    replacement="if (at < a.n) {",
)

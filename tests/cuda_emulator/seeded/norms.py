"""Bugs in normalisation and pooling: sums per channel and per row, buffers that take turns, windows."""

from .bug import bug

bug(
    "means_overwritten_while_they_are_read",
    source="batch_norm",
    call="group_norm",
    kernel="join_groups",
    report="global memory race",
    find="    __syncwarp();  // all have read means[0]\n",
    replacement="",
)
bug(
    "column_sums_before_they_are_stored",
    source="batch_norm",
    file="channel_tiles.cuh",
    call="batch_norm",
    kernel="channel_stats",
    report="shared memory race",
    find="    __syncthreads();\n    for (int n = t.down; n > 1;) {",
    replacement="    for (int n = t.down; n > 1;) {",
)
bug(
    "rows_of_sums_that_are_not_there",
    source="batch_norm",
    file="channel_tiles.cuh",
    call="batch_norm",
    kernel="channel_stats",
    report="out of bounds",
    find="if (p.y + half < n) {",
    replacement="if (p.y < n) {",
)
bug(
    "channels_that_are_not_there",
    source="batch_norm",
    call="batch_norm",
    kernel="channel_means",
    report="global memory",
    find="if (threadIdx.x >= kTotalsChannels || c >= t.channels) continue;",
    replacement="if (threadIdx.x >= kTotalsChannels) continue;",
)
bug(
    "buffers_that_do_not_take_turns",
    source="layer_norm",
    file="rows.cuh",
    call="rms_norm",
    kernel="layer_norm_rows",
    report="shared memory race (write after read)",
    find="    turn ^= 1;\n",
    replacement="",
)
bug(
    "half_of_a_row_fits",
    source="layer_norm",
    call="layer_norm_of_a_long_row",
    kernel="layer_norm_long",
    report="shared memory write out of bounds",
    find="staged ? bytes : 0, stream.handle",
    replacement="staged ? bytes / 2 : 0, stream.handle",
)
bug(
    "window_one_too_wide",
    source="pool",
    call="max_pool",
    kernel="max_pool",
    report="global memory read out of bounds",
    find="for (int64_t k = w.begin[2]; k < w.end[2]; k += a.axis[2].dilation) {",
    replacement="for (int64_t k = w.begin[2]; k <= w.end[2]; k += a.axis[2].dilation) {",
)
bug(
    "window_sums_before_they_are_stored",
    source="pool",
    call="global_average",
    kernel="avg_pool_shared",
    report="shared memory race",
    find="sums.v[k][me] = total[k];\n    __syncthreads();\n",
    replacement="sums.v[k][me] = total[k];\n",
)

"""Bugs in the convolution's pipelines: stages, fragments, halos, prologue and epilogue, pieces of sums."""

from .bug import WRONG_NUMBERS, bug

EARLY = "read of shared memory before its asynchronous copy was waited for"

# ---- three stages in flight (conv_gemm_cuda.cu)

bug(
    "wait_for_one_stage_too_few",
    source="conv_gemm",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report=EARLY,
    find="cp_async_wait<kStages - 2>();",
    replacement="cp_async_wait<kStages - 1>();",
)
bug(
    "no_wait_for_stages",
    source="conv_gemm",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report=EARLY,
    find="    ptx::cp_async_wait<kStages - 2>();  //",
    replacement="    //",
)
bug(
    "stage_overwritten_while_it_is_read",
    source="conv_gemm",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report="shared memory race (write after read)",
    find="    __syncthreads();  // everyone's is;",
    replacement="    if (k < kStages) __syncthreads();  // everyone's is;",
)
bug(
    "stage_that_is_multiplied_is_filled",
    source="conv_gemm",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report=EARLY,
    find="if (k + kStages - 1 < steps) load(writing);",
    replacement="if (k + kStages - 1 < steps) load(reading);",
)
bug(
    "stages_that_are_not_committed",
    source="conv_gemm",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report=EARLY,
    find="load(writing);\n    ptx::cp_async_commit();",
    replacement="load(writing);",
)
bug(
    "strips_in_stages_that_are_read",
    source="conv_gemm",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report="shared memory race (write after read)",
    find="  __syncthreads();  // the stages are done with\n",
    replacement="",
)
bug(
    "strip_overwritten_while_it_is_read",
    source="conv_gemm",
    file="conv_epilogue.cuh",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report="shared memory race (write after read)",
    find="    __syncwarp();  // the strip has been read\n",
    replacement="",
)
bug(
    "prologue_of_a_chunk_that_another_thread_copies",
    source="conv_gemm",
    file="conv_load.cuh",
    call="convolution_prologue",
    kernel="correlate_tiles",
    report=EARLY,
    find="[&](int i) { return &stage[rows_at(row(i), chunk())]; }",
    replacement="[&](int i) { return &stage[rows_at(row(i), chunk() ^ 1)]; }",
)
bug(
    "tap_beyond_the_image",
    source="conv_gemm",
    file="conv_load.cuh",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report="not device memory",
    find="const bool inside = some && unsigned(r) < unsigned(from.h) && unsigned(s) < unsigned(from.w);",
    replacement="const bool inside = some && unsigned(s) < unsigned(from.w);",
)
bug(
    "fragments_read_as_if_not_swizzled",
    source="conv_gemm",
    file="products.cuh",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report=WRONG_NUMBERS,
    find="&a[rows_at(m + i * 16 + t % 16, step * 2 + t / 16)]",
    replacement="&a[(m + i * 16 + t % 16) * kRowChunks + step * 2 + t / 16]",
)
bug(
    "fragments_in_the_wrong_order",
    source="conv_gemm",
    file="products.cuh",
    call="convolution_in_tiles",
    kernel="correlate_tiles",
    report=WRONG_NUMBERS,
    find="y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]",
    replacement="y[j / 2][j % 2], y[j / 2][j % 2 + 2]",
)

# ---- halos (conv_halo_cuda.cu)

bug(
    "no_wait_for_halos",
    source="conv_halo",
    call="convolution_in_halos",
    kernel="correlate_halos",
    report=EARLY,
    find="    ptx::cp_async_wait<0>();\n    const HaloTile tile",
    replacement="    const HaloTile tile",
)
bug(
    "next_halo_over_the_strips",
    source="conv_halo",
    call="convolution_in_halos",
    kernel="correlate_halos",
    report="shared memory",
    find="    __syncthreads();  // the halo and the filter are there;",
    replacement="    if (t == int(blockIdx.x)) __syncthreads();  // the halo and the filter are there;",
)
bug(
    "strips_in_a_halo_that_is_read",
    source="conv_halo",
    call="convolution_in_halos",
    kernel="correlate_halos",
    report="shared memory race (write after read)",
    find="    __syncthreads();  // everyone is done with the halo: strips take its place\n",
    replacement="",
)
bug(
    "filter_before_the_tables",
    source="conv_halo",
    call="convolution_in_halos",
    kernel="correlate_halos",
    report="shared memory",
    find="  __syncthreads();  // the tables and the zeros are there\n",
    replacement="",
)
bug(
    "halo_one_row_short",
    source="conv_halo",
    call="convolution_in_halos",
    kernel="correlate_halos",
    report="read of uninitialised shared memory",
    find="h.halo = (h.halo_h * h.halo_w * p.pixel_chunks) << p.log_images;",
    replacement="h.halo = ((h.halo_h - 1) * h.halo_w * p.pixel_chunks) << p.log_images;",
)
bug(
    "halo_beyond_the_images",
    source="conv_halo",
    call="convolution_in_halos",
    kernel="correlate_halos",
    report="global memory",
    find="tile.image + image < p.images && unsigned(y)",
    replacement="unsigned(y)",
)

# ---- the weight gradient (conv_weight_cuda.cu) and sums (conv_sums_cuda.cu)

bug(
    "weight_gradient_waits_for_too_little",
    source="conv_weight",
    call="convolution_in_tiles",
    kernel="weight_tiles",
    report=EARLY,
    find="cp_async_wait<kStages - 2>();",
    replacement="cp_async_wait<kStages - 1>();",
)
bug(
    "weight_gradient_without_a_barrier",
    source="conv_weight",
    call="convolution_in_tiles",
    kernel="weight_tiles",
    report="shared memory",
    find="    __syncthreads();\n    if (s + kStages - 1 < steps)",
    replacement="    if (s + kStages - 1 < steps)",
)
bug(
    "norm_of_a_stage_that_is_not_there",
    source="conv_weight",
    call="convolution_of_a_norm",
    kernel="weight_tiles",
    report=EARLY,
    find="return &stages.b[reading][columns_at",
    replacement="return &stages.b[(reading + 1) % kStages][columns_at",
)
bug(
    "padding_that_is_normalised",
    source="conv_weight",
    call="convolution_of_a_norm",
    kernel="weight_tiles",
    report=WRONG_NUMBERS,
    find="bits |= unsigned(inside) << i;",
    replacement="bits |= unsigned(at < end && some_n) << i;",
)
bug(
    "norm_of_another_stage_s_pixels",
    source="conv_weight",
    call="convolution_of_a_norm",
    kernel="weight_tiles",
    report=WRONG_NUMBERS,
    find="in_image >> RowsB::kEach * (kStages - 2)",
    replacement="in_image >> RowsB::kEach * (kStages - 1)",
)
bug(
    "piece_that_goes_on_too_long",
    source="conv_weight",
    call="convolution_in_tiles",
    kernel="weight_tiles",
    report="global memory read out of bounds",
    find="p.phase.positions - begin < p.piece ? p.phase.positions : begin + p.piece;",
    replacement="begin + p.piece;",
)
bug(
    "means_that_are_not_there_yet",
    source="conv_sums",
    call="convolution_moments",
    kernel="join_moments",
    report="shared memory",
    find="sum / count : 0.0;\n  __syncthreads();",
    replacement="sum / count : 0.0;",
)

# ---- the ring of stages between TMA and warpgroups (conv_wgmma_cuda.cu)


def warpgroups(name: str, report: str, find: str, replacement: str, file: str = "") -> None:
    bug(name, "conv_wgmma", "convolution_by_warpgroups", "correlate_warpgroups", report, find, replacement, file)


RING = "warpgroups.cuh"
warpgroups(
    "stage_read_before_it_is_full",
    report="read of",
    find="    ptx::mbarrier_wait(&barriers.full[at.stage], at.phase);\n",
    replacement="",
    file=RING,
)
warpgroups(
    "wrong_phase_of_a_full_stage",
    report="read of",
    find="mbarrier_wait(&barriers.full[at.stage], at.phase)",
    replacement="mbarrier_wait(&barriers.full[at.stage], at.phase ^ 1)",
    file=RING,
)
warpgroups(
    "phase_that_does_not_change",
    report="more arrivals at an mbarrier than its count",
    find="stage = 0, phase ^= 1;",
    replacement="stage = 0;",
    file=RING,
)
warpgroups(
    "producer_does_not_wait_for_an_empty_stage",
    report="more arrivals at an mbarrier than its count",
    find="        ptx::mbarrier_wait(&barriers.empty[next.stage], next.phase ^ 1);  //",
    replacement="        //",
)
warpgroups(
    "wrong_phase_of_an_empty_stage",
    report="deadlock",
    find="mbarrier_wait(&barriers.empty[next.stage], next.phase ^ 1)",
    replacement="mbarrier_wait(&barriers.empty[next.stage], next.phase)",
)
warpgroups(
    "bytes_of_one_operand",
    report="before its asynchronous copy was waited for",
    find="mbarrier_arrive_expect_tx(full, RingStages<kN>::kBytes)",
    replacement="mbarrier_arrive_expect_tx(full, kRingRows * kRowBytes)",
)
warpgroups(
    "stage_given_back_while_it_is_multiplied",
    report="shared memory race (write after read)",
    find="if (k > 0 && first_lane) ptx::mbarrier_arrive(&barriers.empty[before]);",
    replacement="if (first_lane) ptx::mbarrier_arrive(&barriers.empty[at.stage]);",
    file=RING,
)
warpgroups(
    "products_of_the_step_before_not_waited_for",
    report="shared memory race (write after read)",
    find="ptx::wgmma_wait<1>(sum);",
    replacement="ptx::wgmma_wait<2>(sum);",
    file=RING,
)
warpgroups(
    "stage_that_is_not_given_back",
    report="deadlock",
    find="if (k > 0 && first_lane)",
    replacement="if (k > 1 && first_lane)",
    file=RING,
)
warpgroups(
    "arrivals_of_one_group_alone",
    report="more arrivals at an mbarrier than its count",
    find="mbarrier_init(&empty[i], kConsumerWarps)",
    replacement="mbarrier_init(&empty[i], kGroupWarps)",
    file=RING,
)
warpgroups(
    "barriers_that_are_not_fenced",
    report="an mbarrier that was initialised without a fence.proxy.async",
    find="    ptx::fence_proxy_async();\n",
    replacement="",
    file=RING,
)
warpgroups(
    "products_that_are_not_committed",
    report="wgmma has not been waited for",
    find="    ptx::wgmma_commit();\n",
    replacement="",
    file=RING,
)
warpgroups(
    "accumulators_that_are_not_fenced",
    report="wgmma without a wgmma.fence",
    find="    ptx::wgmma_fence();\n",
    replacement="",
    file=RING,
)
warpgroups(
    "last_products_not_waited_for",
    report="wgmma has not been waited for",
    find="  products.complete();\n",
    replacement="",
    file=RING,
)
warpgroups(
    "strips_in_stages_of_the_other_group",
    report="shared memory race (write after read)",
    find="  __syncthreads();  // the stages are done with\n",
    replacement="",
)
warpgroups(
    "chunk_of_k_across_the_swizzle",
    report="impossible wgmma descriptor",
    find="rows + 2 * k, columns + 2 * k",
    replacement="rows + 2 * k + 1, columns + 2 * k",
    file=RING,
)
warpgroups(
    "step_of_k_of_one_operand",
    report=WRONG_NUMBERS,
    find="rows + 2 * k, columns + 2 * k",
    replacement="rows + 2 * k, columns + 2 * (k ^ 1)",
    file=RING,
)
warpgroups(
    "pixels_of_the_other_parity",
    report=WRONG_NUMBERS,
    find="image[dy & odd_h][dx & odd_w]",
    replacement="image[dy & odd_h][0]",
)

# ---- sums of the data gradient's epilogue

bug(
    "gradient_sums_over_strips_that_are_read",
    source="conv_gemm",
    call="gradient_sums_in_tiles",
    kernel="correlate_tiles",
    report="shared memory race",
    find="    __syncthreads();  // the strips are done with\n",
    replacement="",
)
bug(
    "gradient_sums_of_warps_that_are_not_there_yet",
    source="conv_gemm",
    call="gradient_sums_in_tiles",
    kernel="correlate_tiles",
    report="shared memory",
    find="(mine, warp % Tile::kWarpsM, n);\n    __syncthreads();",
    replacement="(mine, warp % Tile::kWarpsM, n);",
)
bug(
    "gradient_sums_of_phases_in_one_place",
    source="conv_gemm",
    call="gradient_sums_in_tiles",
    kernel="correlate_tiles",
    report="global memory race",
    find="p.part[which] + int(blockIdx.x) / columns",
    replacement="int(blockIdx.x) / columns",
)
bug(
    "gradient_sums_of_neighbouring_channels",
    source="conv_gemm",
    file="conv_epilogue.cuh",
    call="gradient_sums_in_tiles",
    kernel="correlate_tiles",
    report=WRONG_NUMBERS,
    find="for (int distance = kLanes; distance < kWarp; distance *= 2) {",
    replacement="for (int distance = 1; distance < kLanes; distance *= 2) {",
)
bug(
    "gradient_sums_over_strips_in_a_halo",
    source="conv_halo",
    call="gradient_sums_in_halos",
    kernel="correlate_halos",
    report="shared memory race",
    find="      __syncthreads();  // the strips are done with\n",
    replacement="",
)
bug(
    "gradient_sums_of_a_part_that_is_not_there",
    source="conv_sums",
    call="gradient_sums_in_tiles",
    kernel="sum_rows",
    report="global memory",
    find="for (int64_t r = first + row; r < end;",
    replacement="for (int64_t r = first + row; r <= end;",
)
bug(
    "warpgroups_sums_over_strips_that_are_read",
    source="conv_wgmma",
    call="gradient_sums_by_warpgroups",
    kernel="correlate_warpgroups",
    report="shared memory race",
    find="    __syncthreads();  // the strips are done with\n",
    replacement="",
)
bug(
    "warpgroups_sums_of_phases_in_one_place",
    source="conv_wgmma",
    call="gradient_sums_by_warpgroups",
    kernel="correlate_warpgroups",
    report="global memory race",
    find="p.part + int(blockIdx.y) * p.box.tiles + tile",
    replacement="p.part + tile",
)

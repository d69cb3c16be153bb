// Weight gradient. In the same frames as the forward pass: for result channel k and the source elements e that a run of
// taps reads,
//   dw[k][run][e] = sum over pixels of dy[pixel][k] * frame[pixel * stride + offset(run) + e]
// is a matrix product whose long dimension are the pixels. Pixels are cut into parts, each of which sums into its own
// buffer [k][run][e, in whole vectors]; the buffers are then added in order.
#include "kernels/conv_lanes.h"
#include "kernels/conv_plan.h"
#include "kernels/gemm.h"
#include "ops/conv.h"
#include "ops/conv_bf16.h"
#include "ops/conv_winograd.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kTables, kPartials, kPixels, kFrames, kGradient, kRow, kUnfolded };
// What a block's frames may take: more where the sums, read and written once per block, are themselves large.
constexpr int64_t kBlockCache = 512 << 10, kLargeSums = 1 << 20, kLargeBlockCache = 2 << 20;

template <class T, class S>
struct WeightGrad {
  Plan plan;
  Blocks blocks;
  Frame frame;
  Pass pass;
  const S *x, *dy;
  int64_t groups, in_group, out_group;
  int64_t run_padded, row;  // elements of a run, and of all runs of one result channel, in the buffers
  int64_t parts, shares;    // of the blocks; of the result channels
  int64_t copies, copied;   // runs of how many elements, where it unfolds
  bool unfolds;             // what all runs read is copied side by side: for few channels, whose runs are short
  T* partials;
};

// The pixels of a block as the kernel takes them: an outer list and an inner loop, which runs along the innermost axis,
// or over images where that axis is very short.
struct Pixels {
  int64_t outer, inner, dy_step, x_step;
  int64_t *dy_offset, *x_offset;
};

// The pixels for which run `run` reads more than padding.
template <class T, class S>
Pixels list_pixels(const WeightGrad<T, S>& g, const BlockRange& r, int64_t run) {
  struct Loop {
    int64_t count, dy, x;
  } loop[4] = {{r.images, g.plan.to_image, g.frame.image}};
  for (int d = 0; d < 3; ++d)
    loop[d + 1] = {r.end[d] - r.begin[d], g.plan.to_stride[d], g.plan.from_step(d) * g.frame.stride[d]};
  const bool narrow = is_narrow(g.plan, r.images);
  if (narrow) {
    const Loop images = loop[0];
    loop[0] = loop[3];
    loop[3] = images;
  }
  const int64_t most = loop[0].count * loop[1].count * loop[2].count;
  Pixels p{0, loop[3].count, loop[3].dy, loop[3].x, nullptr, nullptr};
  p.dy_offset = static_cast<int64_t*>(thread_scratch(kPixels, size_t(2 * most) * sizeof(int64_t)));
  p.x_offset = p.dy_offset + most;
  for (int64_t i = 0; i < loop[0].count; ++i)
    for (int64_t j = 0; j < loop[1].count; ++j)
      for (int64_t k = 0; k < loop[2].count; ++k) {
        const int64_t q[3] = {r.begin[0] + j, r.begin[1] + k, r.begin[2] + i};
        if (!g.pass.reads(g.plan.from_size, run, q, narrow ? 3 : 2)) continue;
        p.dy_offset[p.outer] = i * loop[0].dy + j * loop[1].dy + k * loop[2].dy;
        p.x_offset[p.outer++] = i * loop[0].x + j * loop[1].x + k * loop[2].x;
      }
  return p;
}

// Output gradients of a block, in T. They are dense but for the images of a piece, of which there is only one.
template <class T, class S>
const T* block_gradient(const WeightGrad<T, S>& g, const BlockRange& r) {
  const S* dy = g.dy + r.image0 * g.plan.to_image;
  for (int d = 0; d < 3; ++d) dy += r.begin[d] * g.plan.to_stride[d];
  if constexpr (sizeof(T) == sizeof(S)) {
    return reinterpret_cast<const T*>(dy);
  } else {
    const int split = g.blocks.split;
    const int64_t n =
        g.blocks.pieces == 1 ? r.images * g.plan.to_image : (r.end[split] - r.begin[split]) * g.plan.to_stride[split];
    T* converted = static_cast<T*>(thread_scratch(kGradient, size_t(n) * sizeof(T)));
    convert(dy, converted, n);
    return converted;
  }
}

// Adds what a block gives one run to the rows [k0, k1) of a buffer, all of one group. x: what the run reads at the
// first pixel.
template <class T, class S>
void add_block(const WeightGrad<T, S>& g, const Pixels& p, const T* dy, const T* x, int64_t k0, int64_t k1, int64_t run,
               T* buffer, bool first) {
  using Tile = MicroTile<T>;
  constexpr int n = Lanes<T>::n;
  const int64_t vecs = g.run_padded / n;
  MicroArgs<T> m{};
  m.a_row = 1;
  m.a_step = p.dy_step;
  m.a_outer = p.dy_offset;
  m.b_step = p.x_step;
  m.b_outer = p.x_offset;
  m.inner = p.inner;
  m.outer = p.outer;
  m.c_row = m.start_row = g.row;
  const int64_t columns = ceil_div(vecs, Tile::kMaxColumnVecs);
  for (int64_t j = 0; j < columns; ++j) {  // the columns of the frames stay in the cache
    const int64_t vec = vecs * j / columns;
    const int width = int(vecs * (j + 1) / columns - vec);
    m.b = x + vec * n;
    for (int64_t k = k0; k < k1; k += Tile::kMaxColumnRows) {
      m.a = dy + k;
      m.c = buffer + k * g.row + run * g.run_padded + vec * n;
      m.start = first ? nullptr : m.c;
      micro_by_columns<T>(int(smaller(Tile::kMaxColumnRows, k1 - k)), width)(m);
    }
  }
}

// Adds what a block gives all runs, which are copied side by side for some pixels at a time.
template <class T, class S>
void add_unfolded(const WeightGrad<T, S>& g, const BlockRange& r, const T* dy, const T* frames, int64_t k_begin,
                  int64_t k_end, T* buffer, bool first) {
  constexpr int n = Lanes<T>::n;
  constexpr int64_t kBytes = 64 << 10;
  const int64_t most = larger(kBytes / (g.row * int64_t(sizeof(T))), 16);
  T* unfolded = static_cast<T*>(thread_scratch(kUnfolded, size_t(most * g.row + n) * sizeof(T)));
  int64_t count[3], step[3], total = r.images, at[4] = {};
  for (int d = 0; d < 3; ++d) {
    count[d] = r.end[d] - r.begin[d];
    step[d] = g.plan.from_step(d) * g.frame.stride[d];
    total *= count[d];
  }
  int64_t zero = 0;
  for (int64_t pixel = 0; pixel < total; pixel += most) {
    const int64_t pixels = smaller(most, total - pixel);
    T* to = unfolded;
    for (int64_t i = 0; i < pixels; ++i, to += g.row) {
      const T* x = frames + at[0] * g.frame.image + at[1] * step[0] + at[2] * step[1] + at[3] * step[2];
      // Whole vectors: what is too much is overwritten by the next run, or reaches sums that nobody reads.
      for (int64_t run = 0; run < g.copies; ++run)
        for (int64_t e = 0; e < g.copied; e += n) vstore(to + run * g.copied + e, vload(x + g.pass.offsets[run] + e));
      for (int d = 3; d >= 0 && ++at[d] == (d ? count[d - 1] : r.images); --d) at[d] = 0;
    }
    const Pixels list{1, pixels, g.plan.to_channels, g.row, &zero, &zero};
    add_block(g, list, dy + pixel * g.plan.to_channels, unfolded, k_begin, k_end, 0, buffer, first && pixel == 0);
  }
}

// Task: one part of the blocks for one share of the result channels.
template <class T, class S>
void run_task(const WeightGrad<T, S>& g, int64_t task) {
  const int64_t part = task / g.shares, share = task % g.shares, channels = g.groups * g.out_group;
  const int64_t begin = g.blocks.count() * part / g.parts, end = g.blocks.count() * (part + 1) / g.parts;
  // Shares begin at multiples of 8, so that tiles are whole.
  const int64_t eights = ceil_div(channels, 8);
  const int64_t k_begin = eights * share / g.shares * 8, k_end = smaller(eights * (share + 1) / g.shares * 8, channels);
  T* buffer = g.partials + part * channels * g.row;
  for (int64_t b = begin; b < end; ++b) {
    const BlockRange range = block_range(g.plan, g.blocks, b);
    const T* frames = block_frames<T>(g.plan, g.frame, g.blocks, range, g.x, kFrames);
    const T* dy = block_gradient(g, range);
    if (g.unfolds) {
      add_unfolded(g, range, dy, frames, k_begin, k_end, buffer, b == begin);
      continue;
    }
    for (int64_t run = 0; run < g.pass.runs; ++run) {
      const Pixels pixels = list_pixels(g, range, run);
      for (int64_t k = k_begin; k < k_end;) {
        const int64_t stop = smaller(k_end, (k / g.out_group + 1) * g.out_group);
        const T* x = frames + k / g.out_group * g.in_group + g.pass.offsets[run];
        add_block(g, pixels, dy, x, k, stop, run, buffer, b == begin);
        k = stop;
      }
    }
  }
}

// dweight[k][c][tap]: the sum of the buffers, in order, brought into the order of the weights.
template <class T, class S>
void add_partials(const WeightGrad<T, S>& g, S* dweight) {
  const int64_t channels = g.groups * g.out_group, taps = g.pass.taps, merged = g.pass.run / g.in_group;
  parallel_for(channels, larger(1, (32 << 10) / (g.row * larger(g.parts, 1))), [&](int64_t k0, int64_t k1) {
    T* sum = static_cast<T*>(thread_scratch(kRow, size_t(g.row) * sizeof(T)));
    for (int64_t k = k0; k < k1; ++k) {
      clear(sum, g.row);
      for (int64_t part = 0; part < g.parts; ++part) {
        const T* from = g.partials + (part * channels + k) * g.row;
        for (int64_t i = 0; i < g.row; ++i) sum[i] += from[i];
      }
      for (int64_t t = 0; t < taps; ++t) {
        const T* from = sum + t / merged * g.run_padded + t % merged * g.in_group;
        S* to = dweight + k * g.in_group * taps + g.pass.tap_ids[t];
        for (int64_t c = 0; c < g.in_group; ++c) to[c * taps] = S(from[c]);
      }
    }
  });
}

// Large weights are shared out by result channel, small ones by pixel. Depends on the shape alone.
template <class T, class S>
void share_out(WeightGrad<T, S>& g, int64_t macs) {
  const int64_t channels = g.groups * g.out_group, bytes = channels * g.row * int64_t(sizeof(T));
  const int64_t tasks = clamped(macs / (8 << 20), 1, 32);
  g.shares = clamped(bytes / (256 << 10), 1, smaller(ceil_div(channels, 64), tasks));
  g.parts = smaller(ceil_div(tasks, g.shares), clamped((16 << 20) / bytes, 1, g.blocks.count()));
}

template <class T, class S>
void weight_grad(const ConvShape& shape, const S* x, const ConvPrologue& prologue, const S* dy, S* dweight) {
  constexpr int n = Lanes<T>::n;
  const ConvShape s = flattened(shape);
  WeightGrad<T, S> g{};
  g.plan = make_plan(s, Direction::Forward);
  const Plan& p = g.plan;
  g.x = x, g.dy = dy;
  g.groups = s.groups, g.in_group = s.in_channels / s.groups, g.out_group = s.out_channels / s.groups;
  if (s.batch * s.out[0] * s.out[1] * s.out[2] == 0) return clear(dweight, s.out_channels * g.in_group * p.taps);
  const int64_t macs = p.macs(), elements = p.frame_positions() * p.from_channels + p.to_image;
  const bool large = s.out_channels * g.in_group * p.taps * int64_t(sizeof(T)) > kLargeSums;
  // Large sums are shared out by channel, so that blocks need not be many.
  g.blocks = make_blocks(p, large ? 0 : macs, elements * int64_t(sizeof(T)), large ? kLargeBlockCache : kBlockCache);
  // In place, a last run that does not fill its vectors would read past the tensor.
  const bool must_copy = sizeof(T) != sizeof(S) || g.in_group % n != 0;
  g.frame = make_frame(p, g.blocks, frame_channels(p, sizeof(T)), must_copy, prologue);
  make_passes(p, g.frame, g.in_group, !is_narrow(p, g.blocks.images), &g.pass,
              static_cast<int64_t*>(thread_scratch(kTables, 2 * size_t(p.taps) * sizeof(int64_t))));
  // Where runs leave so much of their vectors empty that multiplications take longer than the copies, in cycles a
  // pixel.
  g.copies = g.pass.runs, g.copied = g.pass.run;
  const int64_t apart = g.copies * ceil_div(g.copied, n), together = ceil_div(g.copies * g.copied, n);
  g.unfolds = s.groups == 1 && !g.frame.in_place && (apart - together) * s.out_channels > 4 * apart + 16;
  if (g.unfolds) g.pass.run *= g.pass.runs, g.pass.runs = 1;
  g.run_padded = round_up(g.pass.run, n);
  g.row = g.pass.runs * g.run_padded;
  share_out(g, s.batch * macs);
  g.partials = static_cast<T*>(thread_scratch(kPartials, size_t(g.parts * s.out_channels * g.row) * sizeof(T)));
  parallel_tasks(g.parts * g.shares, [&](int64_t task) { run_task(g, task); });
  add_partials(g, dweight);
}

// sum[c] = sum over rows of x[row][c], by slices of rows that are then added in order.
template <class T, class S>
void sum_channels(int64_t rows, int64_t channels, const S* x, S* sum) {
  constexpr int64_t kSlices = 32;
  const int64_t slices = clamped(rows * channels / (32 << 10), 1, smaller(kSlices, larger(rows, 1)));
  T* partials = static_cast<T*>(thread_scratch(kPartials, size_t(slices * channels) * sizeof(T)));
  parallel_tasks(slices, [&](int64_t slice) {
    constexpr int n = Lanes<S>::n, kVecs = 4;
    using V = typename Lanes<S>::vec;
    T* to = partials + slice * channels;
    const int64_t begin = rows * slice / slices, end = rows * (slice + 1) / slices;
    int64_t c = 0;
    for (; c + kVecs * n <= channels; c += kVecs * n) {
      V acc[kVecs] = {};
      for (int64_t r = begin; r < end; ++r)
        for (int j = 0; j < kVecs; ++j) acc[j] += vload(x + r * channels + c + j * n);
      for (int j = 0; j < kVecs; ++j) vstore(to + c + j * n, acc[j]);
    }
    for (; c < channels; c += n) {
      const int64_t lanes = smaller(n, channels - c);
      V acc{};
      for (int64_t r = begin; r < end; ++r)
        acc += lanes == n ? vload(x + r * channels + c) : vload_n(x + r * channels + c, lanes);
      vstore_n(to + c, acc, lanes);
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    T total = 0;
    for (int64_t slice = 0; slice < slices; ++slice) total += partials[slice * channels + c];
    sum[c] = S(total);
  }
}

}  // namespace

void conv_weight_grad(const ConvWeightGradArgs& a) {
  dispatch_float(a.dtype, [&]<class S>(Type<S>) {
    const ConvAlgorithm algorithm = conv_algorithm(a.shape, a.dtype, ConvPass::WeightGrad, Lanes<S>::n);
    if (algorithm == ConvAlgorithm::Winograd) return winograd_weight_grad(a);
    if (conv_weight_grad_bf16(a)) return;
    const auto run = algorithm == ConvAlgorithm::Lanes ? lanes_weight_grad<S> : weight_grad<accumulate_type<S>, S>;
    run(a.shape, static_cast<const S*>(a.x), a.prologue, static_cast<const S*>(a.dy), static_cast<S*>(a.dweight));
  });
}

void channel_sum(const ChannelSumArgs& a) {
  dispatch_float(a.dtype, [&]<class S>(Type<S>) {
    sum_channels<accumulate_type<S>>(a.rows, a.channels, static_cast<const S*>(a.x), static_cast<S*>(a.sum));
  });
}

}  // namespace skipway::SW_ISA

// Forward and data gradient: a correlation over packed weights, tile by tile (kernels/conv_plan.h, kernels/gemm.h).
// The weights of `vecs` vectors of result channels make a panel, [tap][source channel][lane], that stays in the cache
// while the images of a block pass by.
#include "kernels/conv_lanes.h"
#include "kernels/conv_plan.h"
#include "kernels/gemm.h"
#include "ops/conv.h"
#include "ops/conv_bf16.h"
#include "ops/conv_fused.h"
#include "ops/conv_winograd.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kTables, kWeights, kBias, kFrames };
constexpr int64_t kFrameCache = 768 << 10;
constexpr int64_t kPanelCache = 448 << 10;

template <class T, class S>
struct Correlation {
  Plan plan;
  Blocks blocks;
  Frame frame;
  const Pass* passes;
  const S* from;
  S* to;
  int64_t groups;
  int64_t padded;  // result channels of a group, rounded up to whole vectors
  int vecs;        // per panel; the last panel of a group may have fewer
  const T* weights;
  const T* bias;  // padded like the weights, or null
  bool add;
};

// One of the loops over results: how often, and how far apart.
struct Loop {
  int64_t count, from, to;
};

// Where a tile's result cannot be written directly: it has lanes too many, or needs rounding.
template <class T, class S>
void indirect_tile(MicroArgs<T>& m, MicroKernel<T> kernel, int rows, int width, S* to, int64_t to_row, int64_t lanes,
                   bool onto) {
  alignas(64) T tile[MicroTile<T>::kMaxElements];
  m.c = tile;
  m.c_row = width;
  if (onto) {
    for (int i = 0; i < rows; ++i) convert(to + i * to_row, tile + i * width, lanes);
    m.start = tile;
    m.start_row = width;
  }
  kernel(m);
  for (int i = 0; i < rows; ++i) convert(tile + i * width, to + i * to_row, lanes);
}

// The runs that a tile has to take: those that read padding alone are left out, where they are few enough to list.
struct RunList {
  static constexpr int kMost = 64;
  int64_t a[kMost], b[kMost];
  // Runs [first, first + count) of position q; b_run: elements of b per run.
  template <class T>
  SW_INLINE void select(const Plan& plan, const Pass& pass, int64_t first, int64_t count, const int64_t* q, int axes,
                        int64_t b_run, MicroArgs<T>& m) {
    m.a_outer = pass.offsets + first;
    m.b_outer = nullptr;
    m.outer = count;
    if (count > kMost) return;
    int64_t kept = 0;
    for (int64_t r = 0; r < count; ++r) {
      if (!pass.reads(plan.from_size, first + r, q, axes)) continue;
      a[kept] = pass.offsets[first + r];
      b[kept++] = r * b_run;
    }
    if (kept == count) return;
    m.a_outer = a;
    m.b_outer = b;
    m.outer = kept;
  }
};

// All results of a block that one pass gives one panel. The strip of positions that makes a tile's rows runs along the
// innermost axis, or over images where that axis is very short.
template <class T, class S>
void correlate_panel(const Correlation<T, S>& c, const Pass& pass, const BlockRange& range, const T* frames,
                     int64_t group, int64_t lane0) {
  constexpr int n = Lanes<T>::n;
  Loop loop[4] = {{range.images, c.frame.image, c.plan.to_image}};
  S* to = c.to + range.image0 * c.plan.to_image + group * c.plan.to_group + lane0;
  for (int d = 0; d < 3; ++d) {
    const Axis& a = pass.axis[d];
    const int64_t begin = range.begin[d], end = smaller(range.end[d], a.count);
    if (end <= begin) return;
    loop[d + 1] = {end - begin, a.from_step * c.frame.stride[d], a.to_step * c.plan.to_stride[d]};
    to += (a.first + begin * a.to_step) * c.plan.to_stride[d];
  }
  const bool narrow = is_narrow(c.plan, range.images);
  if (narrow) {
    const Loop images = loop[0];
    loop[0] = loop[3];
    loop[3] = images;
  }
  const int vecs = int(smaller(c.vecs, (c.padded - lane0) / n)), width = vecs * n;
  const int64_t lanes = smaller(width, c.plan.to_group - lane0);
  const bool direct = sizeof(T) == sizeof(S) && lanes == width;
  const T* weights = c.weights + (pass.taps_before * c.groups + pass.taps * group) * c.plan.from_group * c.padded +
                     lane0 * pass.taps * c.plan.from_group;

  // The panel is taken in pieces that fit the cache, where sums can be kept in the result.
  const int64_t steps = larger(kPanelCache / int64_t(width * sizeof(T)), 64);
  const bool whole = sizeof(T) != sizeof(S) || pass.runs * pass.run <= steps;
  const int64_t runs = whole || pass.runs == 1 ? pass.runs : clamped(steps / pass.run, 1, pass.runs);
  const int64_t run = whole || pass.runs > 1 ? pass.run : steps;

  RunList list;
  MicroArgs<T> m{};
  m.a_row = loop[3].from;
  m.a_step = 1;
  m.b_step = width;
  const int64_t strips = ceil_div(loop[3].count, MicroTile<T>::rows(vecs));
  for (int64_t run0 = 0; run0 < pass.runs; run0 += runs)
    for (int64_t k0 = 0; k0 < pass.run; k0 += run) {
      const bool onto = c.add || run0 > 0 || k0 > 0;
      m.inner = smaller(run, pass.run - k0);
      m.b = weights + (run0 * pass.run + k0) * width;
      for (int64_t i = 0; i < loop[0].count; ++i)
        for (int64_t j = 0; j < loop[1].count; ++j)
          for (int64_t k = 0; k < loop[2].count; ++k) {
            const T* a =
                frames + group * c.plan.from_group + k0 + i * loop[0].from + j * loop[1].from + k * loop[2].from;
            S* at = to + i * loop[0].to + j * loop[1].to + k * loop[2].to;
            const int64_t q[3] = {range.begin[0] + j, range.begin[1] + k, range.begin[2] + i};
            list.select(c.plan, pass, run0, smaller(runs, pass.runs - run0), q, narrow ? 3 : 2, pass.run * width, m);
            for (int64_t s = 0; s < strips; ++s) {
              const int64_t first = loop[3].count * s / strips;
              const int rows = int(loop[3].count * (s + 1) / strips - first);
              const auto kernel = micro_by_rows<T>(rows, vecs);
              m.a = a + first * loop[3].from;
              m.start = c.bias ? c.bias + group * c.padded + lane0 : nullptr;
              m.start_row = 0;
              S* tile = at + first * loop[3].to;
              if (!direct) {
                indirect_tile(m, kernel, rows, width, tile, loop[3].to, lanes, onto);
                continue;
              }
              m.c = reinterpret_cast<T*>(tile);
              m.c_row = loop[3].to;
              if (onto) m.start = m.c, m.start_row = m.c_row;
              kernel(m);
            }
          }
    }
}

// weight[group * group_stride + result * result_stride + source * source_stride + tap]
struct WeightStrides {
  int64_t group, result, source;
};

// A few sources at a time go through a small buffer [result][source][tap]: the weights' own rows, or the panel's, are
// often a power of two apart and would drive each other out of the cache.
template <class T, class S>
void pack_panel(const S* weight, WeightStrides w, const Pass& pass, int64_t sources, int64_t lanes, int64_t width,
                T* panel) {
  const int64_t taps = smaller(w.result, w.source);
  const bool far = w.result > w.source;  // results are far apart in memory, and sources side by side
  const int64_t block = far ? clamped(4096 / (width * taps), 1, 16) : 1;
  const int64_t pitch = far ? block * taps + 1 : taps;
  T* buffer = static_cast<T*>(thread_scratch(kFrames, size_t(width * pitch) * sizeof(T)));
  for (int64_t c0 = 0; c0 < sources; c0 += block) {
    const int64_t count = smaller(block, sources - c0);
    if (far) {
      for (int64_t j = 0; j < lanes; ++j) convert(weight + j * w.result + c0 * taps, buffer + j * pitch, count * taps);
    } else {
      convert(weight + c0 * w.source, buffer, lanes * taps);
    }
    for (int64_t t = 0; t < pass.taps; ++t)
      for (int64_t c = 0; c < count; ++c) {
        T* to = panel + (t * sources + c0 + c) * width;
        const T* from = buffer + c * taps + pass.tap_ids[t];
        for (int64_t j = 0; j < lanes; ++j) to[j] = from[j * pitch];
        clear(to + lanes, width - lanes);
      }
  }
}

template <class T, class S>
const T* pack_weights(const Correlation<T, S>& c, const S* weight, WeightStrides w, const ConvPacked& kept) {
  const int64_t size = c.groups * c.padded * c.plan.taps * c.plan.from_group;
  T* packed = static_cast<T*>(kept.data ? kept.data : thread_scratch(kWeights, size_t(size) * sizeof(T)));
  if (kept.ready) return packed;
  const int64_t width = c.vecs * Lanes<T>::n, panels = ceil_div(c.padded, width), count = c.groups * panels;
  parallel_for(count, larger(1, (64 << 10) * count / larger(size, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / panels, lane0 = i % panels * width;
      for (int64_t p = 0; p < c.plan.passes; ++p) {
        const Pass& pass = c.passes[p];
        T* panel = packed + (pass.taps_before * c.groups + pass.taps * group) * c.plan.from_group * c.padded +
                   lane0 * pass.taps * c.plan.from_group;
        pack_panel(weight + group * w.group + lane0 * w.result, w, pass, c.plan.from_group,
                   smaller(width, c.plan.to_group - lane0), smaller(width, c.padded - lane0), panel);
      }
    }
  });
  return packed;
}

template <class T, class S>
const T* pack_bias(const Correlation<T, S>& c, const S* bias) {
  if (!bias) return nullptr;
  T* packed = static_cast<T*>(thread_scratch(kBias, size_t(c.groups * c.padded) * sizeof(T)));
  clear(packed, c.groups * c.padded);
  for (int64_t g = 0; g < c.groups; ++g) convert(bias + g * c.plan.to_group, packed + g * c.padded, c.plan.to_group);
  return packed;
}

// Vectors per panel: with two, a broadcast serves two vectors; four suit rows too short to fill the registers
// otherwise.
template <class T>
int panel_vecs(int64_t channels, int64_t strip) {
  const int64_t vecs = ceil_div(channels, Lanes<T>::n);
  if (vecs == 1) return 1;
  return MicroTile<T>::kWide && vecs % 4 == 0 && strip <= MicroTile<T>::rows(4) ? 4 : 2;
}

// The epilogue's map, on the channels [c0, c1) of what a block has just computed.
template <class T, class S>
void finish_block(const Correlation<T, S>& c, const ConvEpilogue& epilogue, const BlockRange& r, int64_t c0,
                  int64_t c1) {
  const Plan& p = c.plan;
  for (int64_t n = r.image0; n < r.image0 + r.images; ++n)
    for (int64_t i = r.begin[0]; i < r.end[0]; ++i)
      for (int64_t j = r.begin[1]; j < r.end[1]; ++j) {
        const int64_t row = ((n * p.to_size[0] + i) * p.to_size[1] + j) * p.to_size[2] + r.begin[2];
        epilogue_rows(epilogue, c.to, p.to_channels, row, r.end[2] - r.begin[2], c0, c1);
      }
}

template <class T, class S>
void correlate(Direction direction, const ConvShape& shape, const S* from, const S* weight, const S* bias, S* to,
               bool add, const ConvPrologue& prologue, const ConvPacked& kept, const ConvEpilogue& epilogue) {
  const ConvShape s = flattened(shape);
  Correlation<T, S> c{};
  c.plan = make_plan(s, direction);
  const Plan& p = c.plan;
  if (s.batch * p.to_channels * p.to_size[0] * p.to_size[1] * p.to_size[2] == 0) return;
  c.from = from, c.to = to, c.add = add;
  c.groups = s.groups;
  c.padded = round_up(p.to_group, Lanes<T>::n);
  if (!p.covers && !add) fill_results(p, bias, to);
  if (p.positions[0] * p.positions[1] * p.positions[2] == 0) return;

  const int64_t macs = p.macs();
  c.blocks = make_blocks(p, macs, p.frame_positions() * p.from_channels * int64_t(sizeof(T)), kFrameCache);
  const bool narrow = is_narrow(p, c.blocks.images);
  c.vecs = panel_vecs<T>(c.plan.to_group, narrow ? c.blocks.images : p.positions[2]);
  c.frame = make_frame(p, c.blocks, frame_channels(p, sizeof(T)), sizeof(T) != sizeof(S), prologue);

  char* tables = static_cast<char*>(
      thread_scratch(kTables, size_t(p.passes) * sizeof(Pass) + 2 * size_t(p.taps) * sizeof(int64_t)));
  Pass* passes = reinterpret_cast<Pass*>(tables);
  make_passes(p, c.frame, p.from_group, !narrow, passes,
              reinterpret_cast<int64_t*>(tables + size_t(p.passes) * sizeof(Pass)));
  c.passes = passes;
  const int64_t group_stride = p.to_group * p.from_group * p.taps;
  const bool forward = direction == Direction::Forward;
  const int64_t to_step = forward ? p.from_group * p.taps : p.taps, from_step = forward ? p.taps : p.to_group * p.taps;
  c.weights = pack_weights(c, weight, {group_stride, to_step, from_step}, kept);
  c.bias = pack_bias(c, bias);

  // Where a block alone is much work for little data, panels are shared out as well.
  const int64_t width = c.vecs * Lanes<T>::n, panels = ceil_div(c.padded, width), all = c.groups * panels;
  const int64_t wanted = smaller(smaller(s.batch * macs / (1 << 20), 16), all);
  const int64_t shares = clamped(c.blocks.count() < wanted ? ceil_div(wanted, c.blocks.count()) : 1, 1, all);
  parallel_tasks(c.blocks.count() * shares, [&](int64_t task) {
    const BlockRange range = block_range(p, c.blocks, task / shares);
    const T* frames = block_frames<T>(p, c.frame, c.blocks, range, from, kFrames);
    const int64_t share = task % shares;
    for (int64_t i = all * share / shares; i < all * (share + 1) / shares; ++i)
      for (int64_t pass = 0; pass < p.passes; ++pass)
        correlate_panel(c, c.passes[pass], range, frames, i / panels, i % panels * width);
    const int64_t first = all * share / shares, last = all * (share + 1) / shares - 1;
    if constexpr (sizeof(T) == 4) {
      if (epilogue.maps())
        finish_block(c, epilogue, range, first / panels * p.to_group + first % panels * width,
                     last / panels * p.to_group + smaller((last % panels + 1) * width, p.to_group));
    }
  });
}

}  // namespace

void conv_forward(const ConvForwardArgs& a) {
  dispatch_float(a.dtype, [&]<class S>(Type<S>) {
    const ConvAlgorithm algorithm = conv_algorithm(a.shape, a.dtype, ConvPass::Forward, Lanes<S>::n);
    if (algorithm == ConvAlgorithm::Winograd) return winograd_forward(a);
    const S *x = static_cast<const S*>(a.x), *weight = static_cast<const S*>(a.weight),
            *bias = static_cast<const S*>(a.bias);
    S* y = static_cast<S*>(a.y);
    const bool done = conv_forward_bf16(a);
    if (done) {
    } else if (algorithm == ConvAlgorithm::Lanes) {
      lanes_correlate<S>(Direction::Forward, a.shape, x, weight, bias, y, false, a.prologue);
    } else {
      const bool mapped = !a.epilogue.mean && sizeof(S) <= 4;  // by block, while it is in the cache
      correlate<accumulate_type<S>>(Direction::Forward, a.shape, x, weight, bias, y, false, a.prologue, a.packed,
                                    mapped ? a.epilogue : ConvEpilogue{});
      if (mapped) return;
    }
    if (a.epilogue && !(done && !a.epilogue.mean)) epilogue_pass(a);
  });
}

void conv_packed_bytes(const ConvPackedBytesArgs& a) {
  *a.bytes = 0;
  dispatch_float(a.dtype, [&]<class S>(Type<S>) {
    const ConvShape& s = a.shape;
    const ConvAlgorithm algorithm = conv_algorithm(s, a.dtype, ConvPass::Forward, Lanes<S>::n);
    if (algorithm == ConvAlgorithm::Winograd) *a.bytes = winograd_packed_bytes(s);
    if (algorithm != ConvAlgorithm::Direct || conv_packed_bytes_bf16(a) || sizeof(S) == 2) return;
    const int64_t taps = s.kernel[0] * s.kernel[1] * s.kernel[2], per_group = s.out_channels / s.groups;
    *a.bytes = s.groups * round_up(per_group, Lanes<S>::n) * taps * (s.in_channels / s.groups) * int64_t(sizeof(S));
  });
}

void conv_data_grad(const ConvDataGradArgs& a) {
  if (a.dx.mode == GradMode::Skip) return;
  dispatch_float(a.dtype, [&]<class S>(Type<S>) {
    const ConvAlgorithm algorithm = conv_algorithm(a.shape, a.dtype, ConvPass::DataGrad, Lanes<S>::n);
    if (algorithm == ConvAlgorithm::Winograd) return winograd_data_grad(a);
    if (conv_data_grad_bf16(a)) return;
    const S *dy = static_cast<const S*>(a.dy), *weight = static_cast<const S*>(a.weight),
            *bias = static_cast<const S*>(a.bias);
    S* dx = static_cast<S*>(a.dx.data);
    const bool add = a.dx.mode == GradMode::Add;
    if (algorithm == ConvAlgorithm::Lanes) {
      lanes_correlate<S>(Direction::DataGrad, a.shape, dy, weight, bias, dx, add);
    } else {
      correlate<accumulate_type<S>>(Direction::DataGrad, a.shape, dy, weight, bias, dx, add, {}, {}, {});
    }
  });
}

}  // namespace skipway::SW_ISA

#include "kernels/conv_lanes.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kTables, kWeights, kBias, kFrames, kGradient };
constexpr int64_t kFrameCache = 512 << 10;
constexpr int64_t kEffort = 4;  // a multiply-add costs so many times more here than in kernels/gemm.h

template <class T, int GROUP>
struct GroupShuffle {
  using V = typename Lanes<T>::vec;
  typename Lanes<T>::mask index[GROUP];
  SW_INLINE GroupShuffle() {
    for (int j = 0; j < GROUP; ++j)
      for (int lane = 0; lane < Lanes<T>::n; ++lane) index[j][lane] = lane - lane % GROUP + j;
  }
  SW_INLINE V operator()(V x, int j) const {
    if constexpr (GROUP == 1) {
      return x;
    } else {
      return __builtin_shuffle(x, index[j]);
    }
  }
};

template <class F>
SW_INLINE void dispatch_group(int64_t group, const F& f) {
  switch (group) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 4:
      return f.template operator()<4>();
    default:
      return f.template operator()<8>();
  }
}

template <class T, class S>
struct LanesPass {
  const int64_t* offsets;
  int64_t taps;
  const T* weights;  // [tap][j][lane]
  const T* bias;     // of these lanes, or null
  int64_t from_step, to_step, lanes;
  bool add;
};

// PIXELS neighbouring results of one vector of channels.
template <class T, class S, int GROUP, int PIXELS>
void lanes_tile(const LanesPass<T, S>& p, const GroupShuffle<T, GROUP>& shuffle, const T* from, S* to) {
  constexpr int n = Lanes<T>::n;
  using V = typename Lanes<T>::vec;
  V acc[PIXELS];
  for (int i = 0; i < PIXELS; ++i) {
    acc[i] = p.bias ? vload(p.bias) : V{};
    if (p.add) acc[i] = p.lanes == n ? vload(to + i * p.to_step) : vload_n(to + i * p.to_step, p.lanes);
  }
  for (int64_t t = 0; t < p.taps; ++t) {
    const T* x = from + p.offsets[t];
    V w[GROUP];
    for (int j = 0; j < GROUP; ++j) w[j] = vload(p.weights + (t * GROUP + j) * n);
    for (int i = 0; i < PIXELS; ++i) {
      const V v = vload(x + i * p.from_step);
      for (int j = 0; j < GROUP; ++j) acc[i] += shuffle(v, j) * w[j];
    }
  }
  for (int i = 0; i < PIXELS; ++i) {
    if (p.lanes == n) {
      vstore(to + i * p.to_step, acc[i]);
    } else {
      vstore_n(to + i * p.to_step, acc[i], p.lanes);
    }
  }
}

template <class T, class S, int GROUP>
void lanes_row(const LanesPass<T, S>& p, const T* from, S* to, int64_t count) {
  constexpr int most = kVecBytes == 64 ? 8 : 4;
  const GroupShuffle<T, GROUP> shuffle;
  int64_t i = 0;
  for (; i + most <= count; i += most)
    lanes_tile<T, S, GROUP, most>(p, shuffle, from + i * p.from_step, to + i * p.to_step);
  for (; i + 2 <= count; i += 2) lanes_tile<T, S, GROUP, 2>(p, shuffle, from + i * p.from_step, to + i * p.to_step);
  for (; i < count; ++i) lanes_tile<T, S, GROUP, 1>(p, shuffle, from + i * p.from_step, to + i * p.to_step);
}

// weights[vector][tap in the order of the passes][j][lane]
template <class T, class S>
const T* pack_lanes(const Plan& p, const Pass* passes, const S* weight, int64_t vecs) {
  constexpr int n = Lanes<T>::n;
  const int64_t group = p.from_group, size = p.taps * group * n;
  T* packed = static_cast<T*>(thread_scratch(kWeights, size_t(vecs * size) * sizeof(T)));
  clear(packed, vecs * size);
  const bool forward = p.direction == Direction::Forward;
  for (int64_t c = 0; c < p.to_channels; ++c)
    for (int64_t i = 0; i < p.passes; ++i)
      for (int64_t t = 0; t < passes[i].taps; ++t)
        for (int64_t j = 0; j < group; ++j) {
          const int64_t first = c - c % group, row = forward ? c : first + j, column = forward ? j : c % group;
          packed[c / n * size + ((passes[i].taps_before + t) * group + j) * n + c % n] =
              T(weight[(row * group + column) * p.taps + passes[i].tap_ids[t]]);
        }
  return packed;
}

template <class T, class S, int GROUP>
void lanes_block(const Plan& p, const Frame& f, const BlockRange& range, const Pass& pass, LanesPass<T, S> lanes,
                 const T* frames, S* to) {
  int64_t count[3], from_step[3], to_step[3];
  to += range.image0 * p.to_image;
  for (int d = 0; d < 3; ++d) {
    const Axis& a = pass.axis[d];
    count[d] = smaller(range.end[d], a.count) - range.begin[d];
    if (count[d] <= 0) return;
    from_step[d] = a.from_step * f.stride[d];
    to_step[d] = a.to_step * p.to_stride[d];
    to += (a.first + range.begin[d] * a.to_step) * p.to_stride[d];
  }
  lanes.from_step = from_step[2];
  lanes.to_step = to_step[2];
  for (int64_t i = 0; i < range.images; ++i)
    for (int64_t j = 0; j < count[0]; ++j)
      for (int64_t k = 0; k < count[1]; ++k)
        lanes_row<T, S, GROUP>(lanes, frames + i * f.image + j * from_step[0] + k * from_step[1],
                               to + i * p.to_image + j * to_step[0] + k * to_step[1], count[2]);
}

// A chunk of taps of the weight gradient:   acc[tap][j] += dy[pixel] * x[pixel * step + tap][j of the group]
// Taps beyond the last one repeat it; their sums are dropped.
template <class T>
struct LanesGradient {
  int64_t count[4], dy_step[4], x_step[4];  // images, depth, height, width
};

template <class T, int GROUP, int TAPS>
void lanes_gradient(const LanesGradient<T>& g, const T* dy, const T* x, const int64_t* offsets, int64_t taps, T* sums,
                    bool first) {
  constexpr int n = Lanes<T>::n;
  using V = typename Lanes<T>::vec;
  const GroupShuffle<T, GROUP> shuffle;
  int64_t offset[TAPS];
  V acc[TAPS][GROUP];
  for (int t = 0; t < TAPS; ++t) {
    offset[t] = offsets[smaller(t, taps - 1)];
    for (int j = 0; j < GROUP; ++j) acc[t][j] = first || t >= taps ? V{} : vload(sums + (t * GROUP + j) * n);
  }
  for (int64_t a = 0; a < g.count[0]; ++a)
    for (int64_t b = 0; b < g.count[1]; ++b)
      for (int64_t c = 0; c < g.count[2]; ++c) {
        const T* dy_at = dy + a * g.dy_step[0] + b * g.dy_step[1] + c * g.dy_step[2];
        const T* x_at = x + a * g.x_step[0] + b * g.x_step[1] + c * g.x_step[2];
        for (int64_t i = 0; i < g.count[3]; ++i, dy_at += g.dy_step[3], x_at += g.x_step[3]) {
          const V d = vload(dy_at);
          for (int t = 0; t < TAPS; ++t) {
            const V v = vload(x_at + offset[t]);
            for (int j = 0; j < GROUP; ++j) acc[t][j] += d * shuffle(v, j);
          }
        }
      }
  for (int t = 0; t < TAPS && t < taps; ++t)
    for (int j = 0; j < GROUP; ++j) vstore(sums + (t * GROUP + j) * n, acc[t][j]);
}

// dy of a block with its channels padded to `channels`; in place where they need not be.
template <class T, class S>
const T* padded_gradient(const Plan& p, const Blocks& b, const BlockRange& r, const S* dy, int64_t channels) {
  dy += r.image0 * p.to_image;
  for (int d = 0; d < 3; ++d) dy += r.begin[d] * p.to_stride[d];
  if constexpr (sizeof(T) == sizeof(S)) {
    if (channels == p.to_channels) return reinterpret_cast<const T*>(dy);
  }
  const int64_t elements =
      b.pieces == 1 ? r.images * p.to_image : (r.end[b.split] - r.begin[b.split]) * p.to_stride[b.split];
  const int64_t pixels = elements / p.to_channels, rest = channels - p.to_channels;
  T* copy = static_cast<T*>(thread_scratch(kGradient, size_t(pixels * channels) * sizeof(T)));
  for (int64_t i = 0; i < pixels; ++i) {
    convert(dy + i * p.to_channels, copy + i * channels, p.to_channels);
    clear(copy + i * channels + p.to_channels, rest);
  }
  return copy;
}

template <class T, class S, int GROUP>
void weight_gradient(const Plan& p, const Pass& pass, const Frame& f, const Blocks& blocks, const S* x, const S* dy,
                     S* dweight) {
  constexpr int n = Lanes<T>::n, chunk = GROUP == 1 ? 9 : GROUP == 2 ? 5 : GROUP == 4 ? 3 : 1;
  const int64_t vecs = f.channels / n, row = p.taps * GROUP * n;
  const int64_t tasks = clamped(p.shape.batch * p.macs() * kEffort / (4 << 20), 1, 32);
  const int64_t parts = smaller(tasks, blocks.count()), shares = smaller(vecs, ceil_div(tasks, parts));
  T* partials = static_cast<T*>(thread_scratch(kWeights, size_t(parts * vecs * row) * sizeof(T)));
  parallel_tasks(parts * shares, [&](int64_t task) {
    const int64_t part = task / shares, share = task % shares;
    const int64_t begin = blocks.count() * part / parts, end = blocks.count() * (part + 1) / parts;
    for (int64_t block = begin; block < end; ++block) {
      const BlockRange range = block_range(p, blocks, block);
      const T* frames = block_frames<T>(p, f, blocks, range, x, kFrames);
      const T* gradient = padded_gradient<T>(p, blocks, range, dy, f.channels);
      LanesGradient<T> g{{range.images}, {p.to_image / p.to_channels * f.channels}, {f.image}};
      for (int d = 0; d < 3; ++d) {
        g.count[d + 1] = range.end[d] - range.begin[d];
        g.dy_step[d + 1] = p.to_stride[d] / p.to_channels * f.channels;
        g.x_step[d + 1] = p.from_step(d) * f.stride[d];
      }
      for (int64_t v = vecs * share / shares; v < vecs * (share + 1) / shares; ++v)
        for (int64_t t = 0; t < p.taps; t += chunk)
          lanes_gradient<T, GROUP, chunk>(g, gradient + v * n, frames + v * n, pass.offsets + t, p.taps - t,
                                          partials + (part * vecs + v) * row + t * GROUP * n, block == begin);
    }
  });
  for (int64_t c = 0; c < p.to_channels; ++c)
    for (int64_t t = 0; t < p.taps; ++t)
      for (int64_t j = 0; j < GROUP; ++j) {
        T sum = 0;
        for (int64_t part = 0; part < parts; ++part)
          sum += partials[(part * vecs + c / n) * row + (t * GROUP + j) * n + c % n];
        dweight[(c * GROUP + j) * p.taps + pass.tap_ids[t]] = S(sum);
      }
}

// Frames whose channels are whole vectors, and the passes over them.
template <class T, class S>
struct LanesSetup {
  int64_t channels;
  Blocks blocks;
  Frame frame;
  Pass* passes;
  LanesSetup(const Plan& p, const ConvPrologue& prologue) {
    channels = round_up(p.from_channels, Lanes<T>::n);
    blocks = make_blocks(p, p.macs() * kEffort, p.frame_positions() * channels * int64_t(sizeof(T)), kFrameCache);
    frame = make_frame(p, blocks, channels, sizeof(T) != sizeof(S), prologue);
    char* tables = static_cast<char*>(
        thread_scratch(kTables, size_t(p.passes) * sizeof(Pass) + 2 * size_t(p.taps) * sizeof(int64_t)));
    passes = reinterpret_cast<Pass*>(tables);
    make_passes(p, frame, p.from_group, false, passes,
                reinterpret_cast<int64_t*>(tables + size_t(p.passes) * sizeof(Pass)));
  }
};

}  // namespace

template <class S>
void lanes_correlate(Direction direction, const ConvShape& s, const S* from, const S* weight, const S* bias, S* to,
                     bool add, const ConvPrologue& prologue) {
  using T = accumulate_type<S>;
  constexpr int n = Lanes<T>::n;
  const Plan p = make_plan(s, direction);
  if (s.batch * p.to_image == 0) return;
  if (!p.covers && !add) fill_results(p, bias, to);
  if (p.positions[0] * p.positions[1] * p.positions[2] == 0) return;
  const LanesSetup<T, S> setup(p, prologue);
  const int64_t vecs = setup.channels / n;
  const T* weights = pack_lanes<T>(p, setup.passes, weight, vecs);
  T* padded_bias = nullptr;
  if (bias) {
    padded_bias = static_cast<T*>(thread_scratch(kBias, size_t(setup.channels) * sizeof(T)));
    clear(padded_bias, setup.channels);
    convert(bias, padded_bias, p.to_channels);
  }
  parallel_tasks(setup.blocks.count(), [&](int64_t task) {
    const BlockRange range = block_range(p, setup.blocks, task);
    const T* frames = block_frames<T>(p, setup.frame, setup.blocks, range, from, kFrames);
    for (int64_t v = 0; v < vecs; ++v)
      for (int64_t i = 0; i < p.passes; ++i) {
        const Pass& pass = setup.passes[i];
        const LanesPass<T, S> lanes{pass.offsets,
                                    pass.taps,
                                    weights + (v * p.taps + pass.taps_before) * p.from_group * n,
                                    padded_bias ? padded_bias + v * n : nullptr,
                                    0,
                                    0,
                                    smaller(n, p.to_channels - v * n),
                                    add};
        dispatch_group(p.from_group, [&]<int GROUP>() {
          lanes_block<T, S, GROUP>(p, setup.frame, range, pass, lanes, frames + v * n, to + v * n);
        });
      }
  });
}

template <class S>
void lanes_weight_grad(const ConvShape& s, const S* x, const ConvPrologue& prologue, const S* dy, S* dweight) {
  using T = accumulate_type<S>;
  const Plan p = make_plan(s, Direction::Forward);
  if (s.batch * p.to_image == 0) return clear(dweight, p.to_channels * p.from_group * p.taps);
  const LanesSetup<T, S> setup(p, prologue);
  dispatch_group(p.from_group, [&]<int GROUP>() {
    weight_gradient<T, S, GROUP>(p, setup.passes[0], setup.frame, setup.blocks, x, dy, dweight);
  });
}

#define SW_LANES(S)                                                                                     \
  template void lanes_correlate<S>(Direction, const ConvShape&, const S*, const S*, const S*, S*, bool, \
                                   const ConvPrologue&);                                                \
  template void lanes_weight_grad<S>(const ConvShape&, const S*, const ConvPrologue&, const S*, S*);
SW_LANES(float)
SW_LANES(double)
SW_LANES(bfloat16)
#undef SW_LANES

}  // namespace skipway::SW_ISA

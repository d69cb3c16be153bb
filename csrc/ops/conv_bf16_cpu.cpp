// Forward and data gradient of bfloat16 images: the correlation of kernels/conv_plan.h over pairs of channels. Frames
// hold an even number of channels; weights are packed into panels [run][pair][lane][2] (kernels/bf16_micro.h).
#include "ops/conv_bf16.h"

#include "kernels/bf16_transpose.h"
#include "kernels/conv_plan.h"
#include "kernels/fused.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kTables, kWeights, kBias, kFrames };
constexpr int64_t kFrameCache = 512 << 10;

struct Correlation {
  Plan plan;
  Blocks blocks;
  Frame frame;
  const Pass* passes;
  int64_t tap;     // elements per tap: the source channels, rounded up to pairs
  int64_t padded;  // result channels, rounded up to whole vectors
  int vecs;        // per panel; the last panel may have fewer
  bool across;     // strips run over images
  const bfloat16* weights;
  const float* bias;  // `padded` elements, or null
  bfloat16* to;
  bool add;
  ConvEpilogue epilogue;
  SW_INLINE int64_t panels() const { return ceil_div(padded, vecs * kBf16Lanes); }
  SW_INLINE int panel_vecs(int64_t panel) const { return int(smaller(vecs, padded / kBf16Lanes - panel * vecs)); }
  // Elements that the panels of all passes before this one take, and this one's up to `panel`.
  SW_INLINE int64_t panel_offset(const Pass& pass, int64_t panel) const {
    int64_t offset = panel * vecs * kBf16Lanes * pass.runs * chunks_of(pass.run).held();
    for (const Pass* p = passes; p != &pass; ++p) offset += padded * p->runs * chunks_of(p->run).held();
    return offset;
  }
};

// to[row][lane] = act(z * scale[lane] + shift[lane] + residual[row][lane]) (+ to[row][lane]), with z = sums[row][lane]
// + bias[lane], for `lanes` result channels from lane0 on. Rows of sums hold `width` floats.
template <FusedAct A>
void store_rows(const Correlation& c, const float* sums, int64_t width, int64_t rows, int64_t lane0, int64_t lanes,
                bfloat16* to, int64_t to_row) {
  const ConvEpilogue& e = c.epilogue;
  const bfloat16* residual =
      e.residual ? static_cast<const bfloat16*>(e.residual) + (to - c.to) : static_cast<const bfloat16*>(nullptr);
  for (int64_t j = 0; j < lanes; j += kBf16Lanes) {
    const int64_t here = smaller(kBf16Lanes, lanes - j), lane = lane0 + j;
    const bool mapped = e.scale != nullptr;
    const vsum16 bias = c.bias ? load16(c.bias + lane) : vsum16{};
    const vsum16 scale = mapped ? load16_n(e.scale + lane, here) : vsum16{};
    const vsum16 shift = mapped ? load16_n(e.shift + lane, here) : vsum16{};
    for (int64_t i = 0; i < rows; ++i) {
      vsum16 z = load16(sums + i * width + j) + bias;
      const int64_t at = i * to_row + j;
      if (mapped) z = z * scale + shift;
      if (residual) z += load16_n(residual + at, here);
      z = fused_act<A>(z);
      if (c.add) z += load16_n(to + at, here);
      if (here == kBf16Lanes) {
        store16(to + at, z);
      } else {
        store16_n(to + at, z, here);
      }
    }
  }
}

// A strip of positions: `rows` of them at `a`, of which those from `skip` on are stored at `to`.
struct Strip {
  const bfloat16* a;
  bfloat16* to;
  int skip;
};

// Strips wait here until the unit can take them together; their sums are rounded and stored while the unit computes
// the next ones.
class Strips {
 public:
  Strips(const Correlation& c, const Pass& pass, int64_t panel, int64_t a_row, int64_t to_row)
      : c_(c), pass_(pass), to_row_(to_row) {
    vecs_ = c.panel_vecs(panel);
    width_ = vecs_ * kBf16Lanes;
    lane0_ = panel * c.vecs * kBf16Lanes;
    lanes_ = smaller(width_, c.plan.to_channels - lane0_);
    tile_.vecs = vecs_;
    tile_.a_row = a_row;
    tile_.c_row = width_;
    tile_.chunks = chunks_of(pass.run);
    tile_.b = c.weights + c.panel_offset(pass, panel);
    tile_.b_step = 2 * width_;
    tile_.onto = false;
    run_of_b_ = tile_.chunks.held() * width_;
    for (int64_t d = 0; d < 3; ++d) {
      const Axis& a = pass.axis[d];
      low_[d] = a.shift(0), high_[d] = a.shift(a.taps - 1);
      if (low_[d] > high_[d]) low_[d] = high_[d];
    }
  }

  // Chooses the runs that read more than padding at position q, as far as its first `axes` axes tell.
  SW_INLINE void select(const int64_t* q, int axes) {
    uint64_t kept = kAll;
    if (pass_.runs <= 64 && !inside(q, axes)) {
      kept = 0;
      for (int64_t r = 0; r < pass_.runs; ++r) kept |= uint64_t(pass_.reads(c_.plan.from_size, r, q, axes)) << r;
    }
    if (kept == kept_ && ready_) return;
    flush();
    ready_ = true;
    kept_ = kept;
    if (kept == kAll) {
      tile_.a_outer = pass_.offsets;
      tile_.b_outer = nullptr;
      tile_.outer = pass_.runs;
      return;
    }
    tile_.outer = 0;
    for (int64_t r = 0; r < pass_.runs; ++r)
      if (kept >> r & 1) a_[tile_.outer] = pass_.offsets[r], b_[tile_.outer++] = r * run_of_b_;
    tile_.a_outer = a_;
    tile_.b_outer = b_;
  }

  SW_INLINE void push(const bfloat16* a, bfloat16* to, int rows, int skip) {
    if (tile_.parts > 0 && rows != tile_.rows) flush();
    tile_.rows = rows;
    tile_.a[tile_.parts] = a;
    tile_.c[tile_.parts] = sums_[now_] + tile_.parts * rows * width_;
    strips_[now_][tile_.parts] = {a, to, skip};
    if (++tile_.parts == Bf16Unit::parts(vecs_)) flush();
  }

  SW_INLINE void flush() {
    if (tile_.parts == 0) return;
    session_.multiply(tile_);
    parts_[now_] = tile_.parts, rows_[now_] = tile_.rows;
    now_ ^= 1;
    store(now_);
    tile_.parts = 0;
  }

  SW_INLINE void finish() {
    flush();
    store(now_ ^ 1);
  }

 private:
  static constexpr uint64_t kAll = ~uint64_t(0);

  SW_INLINE bool inside(const int64_t* q, int axes) const {
    for (int d = 0; d < axes; ++d) {
      const int64_t at = q[d] * pass_.axis[d].from_step;
      if (at + low_[d] < 0 || at + high_[d] >= c_.plan.from_size[d]) return false;
    }
    return true;
  }

  SW_INLINE void store(int which) {
    for (int p = 0; p < parts_[which]; ++p) {
      const Strip& s = strips_[which][p];
      const int rows = rows_[which];
      dispatch_act(c_.epilogue.act, [&]<FusedAct A>(ActTag<A>) {
        store_rows<A>(c_, sums_[which] + (p * rows + s.skip) * width_, width_, rows - s.skip, lane0_, lanes_,
                      s.to + s.skip * to_row_, to_row_);
      });
    }
    parts_[which] = 0;
  }

  const Correlation& c_;
  const Pass& pass_;
  int64_t to_row_, width_, lane0_, lanes_, run_of_b_, low_[3], high_[3];
  int vecs_, now_ = 0, parts_[2] = {}, rows_[2] = {};
  bool ready_ = false;
  uint64_t kept_ = kAll;
  Bf16Tile tile_{};
  Bf16Session session_;
  Strip strips_[2][Bf16Unit::kMaxParts];
  int64_t a_[64], b_[64];
  alignas(64) float sums_[2][Bf16Unit::kMaxParts * 16 * 32];
};

struct Loop {
  int64_t count, from, to;
};

// All results of a block that one pass gives one panel. A strip runs along the innermost axis, or over images.
void correlate_panel(const Correlation& c, const Pass& pass, const BlockRange& range, const bfloat16* frames,
                     int64_t panel) {
  Loop loop[4] = {{range.images, c.frame.image, c.plan.to_image}};
  bfloat16* to = c.to + range.image0 * c.plan.to_image + panel * c.vecs * kBf16Lanes;
  for (int d = 0; d < 3; ++d) {
    const Axis& a = pass.axis[d];
    const int64_t begin = range.begin[d], end = smaller(range.end[d], a.count);
    if (end <= begin) return;
    loop[d + 1] = {end - begin, a.from_step * c.frame.stride[d], a.to_step * c.plan.to_stride[d]};
    to += (a.first + begin * a.to_step) * c.plan.to_stride[d];
  }
  if (c.across) {
    const Loop images = loop[0];
    loop[0] = loop[3];
    loop[3] = images;
  }
  // Strips of one length, the last of which begins early, so that the tile unit keeps its configuration.
  const int64_t length = loop[3].count, strips = ceil_div(length, Bf16Unit::rows(c.panel_vecs(panel)));
  const int64_t rows = ceil_div(length, strips);
  Strips work(c, pass, panel, loop[3].from, loop[3].to);
  for (int64_t i = 0; i < loop[0].count; ++i)
    for (int64_t j = 0; j < loop[1].count; ++j)
      for (int64_t k = 0; k < loop[2].count; ++k) {
        const int64_t q[3] = {range.begin[0] + j, range.begin[1] + k, range.begin[2] + i};
        work.select(q, c.across ? 3 : 2);
        const bfloat16* a = frames + i * loop[0].from + j * loop[1].from + k * loop[2].from;
        bfloat16* at = to + i * loop[0].to + j * loop[1].to + k * loop[2].to;
        for (int64_t s = 0; s < strips; ++s) {
          const int64_t first = smaller(s * rows, length - rows);
          work.push(a + first * loop[3].from, at + first * loop[3].to, int(rows), int(s * rows - first));
        }
      }
  work.finish();
}

// Where the pair (channel, channel + 1) of a tap goes in a panel, [run][chunk][pair][lane][2].
struct PanelRows {
  const Correlation& c;
  const Pass& pass;
  Chunks chunks;
  int64_t width;
  SW_INLINE bfloat16* row(bfloat16* panel, int64_t tap, int64_t channel) const {
    const int64_t merged = pass.run / c.tap, element = tap % merged * c.tap + channel;
    const int64_t chunk = element / chunks.size, at = element - chunks.start(chunk);
    return panel + ((tap / merged * chunks.count + chunk) * chunks.size + at) * width;
  }
  // Rows that a chunk shares with the one before, and that no element has.
  void clear_rest(bfloat16* panel) const {
    const int64_t shared = chunks.count * chunks.size - chunks.inner;
    if (shared == 0) return;
    for (int64_t r = 0; r < pass.runs; ++r)
      clear(panel + ((r + 1) * chunks.count - 1) * chunks.size * width, shared * width);
  }
};

// Two rows of up to 16 elements as pairs, the first of each pair in the lower half of a word.
template <class S>
SW_INLINE vword16 pair_words(const S* first, const S* second, int64_t count) {
  const vhalf16 low = narrowed(load16_n(first, count));
  const vhalf16 high = second ? narrowed(load16_n(second, count)) : vhalf16{};
  return __builtin_convertvector(low, vword16) | __builtin_convertvector(high, vword16) << 16;
}

// One panel of one pass: weight[lane * result + c * source + tap], c < channels, lane < lanes, and zeros elsewhere. The
// taps of 16 lanes are transposed together.
template <class S>
void pack_panel(const Correlation& c, const S* weight, int64_t result, int64_t source, const Pass& pass, int64_t lanes,
                int64_t width, bfloat16* panel) {
  const int64_t channels = c.plan.from_channels, taps = c.plan.taps;
  const PanelRows rows{c, pass, chunks_of(pass.run), width};
  rows.clear_rest(panel);
  for (int64_t j = 0; j < width; j += kBf16Lanes) {
    const int64_t here = smaller(kBf16Lanes, lanes - j);
    for (int64_t channel = 0; channel < c.tap; channel += 2) {
      const S* from = weight + j * result + channel * source;
      const S* other = channel + 1 < channels ? from + source : nullptr;
      if (taps == 1 && result == 1) {  // lanes are side by side
        const vword16 words = pair_words(from, other, here);
        __builtin_memcpy(rows.row(panel, 0, channel) + 2 * j, &words, 64);
        continue;
      }
      for (int64_t first = 0; first < taps; first += kBf16Lanes) {
        const int64_t count = smaller(kBf16Lanes, taps - first);
        vword16 words[kBf16Lanes];
        for (int64_t i = 0; i < kBf16Lanes; ++i)
          words[i] = i < here
                         ? pair_words(from + i * result + first, other ? other + i * result + first : nullptr, count)
                         : vword16{};
        transpose_words(words);
        for (int64_t t = 0; t < pass.taps; ++t) {
          const int64_t id = pass.tap_ids[t] - first;
          if (id >= 0 && id < count) __builtin_memcpy(rows.row(panel, t, channel) + 2 * j, &words[id], 64);
        }
      }
    }
  }
}

int64_t packed_elements(const Correlation& c) {
  int64_t size = 0;
  for (int64_t i = 0; i < c.plan.passes; ++i) size += c.padded * c.passes[i].runs * chunks_of(c.passes[i].run).held();
  return size;
}

template <class S>
const bfloat16* pack_weights(const Correlation& c, const S* weight, const ConvPacked& kept) {
  const Plan& p = c.plan;
  const bool forward = p.direction == Direction::Forward;
  const int64_t result = forward ? p.from_channels * p.taps : p.taps;
  const int64_t source = forward ? p.taps : p.to_channels * p.taps;
  const int64_t size = packed_elements(c);
  bfloat16* packed =
      static_cast<bfloat16*>(kept.data ? kept.data : thread_scratch(kWeights, size_t(size) * sizeof(bfloat16)));
  if (kept.ready) return packed;
  const int64_t count = c.panels(), width = c.vecs * kBf16Lanes;
  parallel_for(count, larger(1, (32 << 10) * count / larger(size, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t pass = 0; pass < p.passes; ++pass)
        pack_panel(c, weight + i * width * result, result, source, c.passes[pass],
                   smaller(width, p.to_channels - i * width), c.panel_vecs(i) * kBf16Lanes,
                   packed + c.panel_offset(c.passes[pass], i));
  });
  return packed;
}

const float* pack_bias(const Correlation& c, const void* bias, DType dtype) {
  if (!bias) return nullptr;
  float* packed = static_cast<float*>(thread_scratch(kBias, size_t(c.padded) * sizeof(float)));
  clear(packed, c.padded);
  const int64_t n = c.plan.to_channels;
  if (dtype == DType::Float32) {
    convert(static_cast<const float*>(bias), packed, n);
  } else {
    convert(static_cast<const bfloat16*>(bias), packed, n);
  }
  return packed;
}

// Vectors per panel: with two, a broadcast serves two vectors; four suit rows too short to fill the registers
// otherwise.
int panel_vecs(int64_t padded, int64_t strip) {
  const int64_t vecs = padded / kBf16Lanes;
  if (vecs == 1) return 1;
  return Bf16Unit::kMaxVecs == 4 && vecs % 4 == 0 && strip <= Bf16Unit::rows(4) ? 4 : 2;
}

// The rows of a tile are positions along an axis, or one position of as many images. Does the latter need fewer
// products? Those of a row of positions of all images, with its taps merged into runs or one by one.
bool images_fill_tiles(const Plan& p, int64_t tap) {
  constexpr int64_t most = Bf16Unit::kMaxRows;
  const ConvShape& s = p.shape;
  const int64_t length = p.positions[2], taps = s.kernel[2], merged = s.dilation[2] == 1 ? taps / p.phases[2] : 1;
  const int64_t along = s.batch * ceil_div(length, most) * ceil_div(taps, merged) * chunks_of(merged * tap).count;
  return ceil_div(s.batch, most) * length * taps * chunks_of(tap).count < along;
}

// The results that no tap reaches are the bias, or zero.
void fill_unreached(const Correlation& c) {
  const int64_t channels = c.plan.to_channels, positions = c.plan.shape.batch * c.plan.to_image / channels;
  parallel_for(positions, larger(1, (64 << 10) / channels), [&](int64_t begin, int64_t end) {
    if (!c.bias) return clear(c.to + begin * channels, (end - begin) * channels);
    for (int64_t i = begin; i < end; ++i) convert(c.bias, c.to + i * channels, channels);
  });
}

}  // namespace

void conv_bf16(const ConvBf16Args& a) {
  const ConvShape s = flattened(a.shape);
  Correlation c{};
  c.plan = make_plan(s, a.data_grad ? Direction::DataGrad : Direction::Forward);
  const Plan& p = c.plan;
  if (s.batch * p.to_channels * p.to_size[0] * p.to_size[1] * p.to_size[2] == 0) return;
  c.to = static_cast<bfloat16*>(a.to), c.add = a.add, c.epilogue = a.epilogue;
  c.padded = round_up(p.to_channels, kBf16Lanes);
  c.tap = round_up(p.from_channels, 2);
  c.bias = pack_bias(c, a.bias, a.bias_dtype);
  if (!p.covers && !a.add && !a.packed_bytes) fill_unreached(c);
  if (p.positions[0] * p.positions[1] * p.positions[2] == 0) return;

  const int64_t macs = p.macs(), bytes = p.frame_positions() * c.tap * int64_t(sizeof(bfloat16));
  c.blocks = make_blocks(p, macs, bytes, kFrameCache);
  c.across = is_narrow(p, c.blocks.images);
  if (Bf16Unit::kTiles && Bf16Unit::kMaxRows * bytes <= kFrameCache && images_fill_tiles(p, c.tap)) {
    const int64_t groups = ceil_div(s.batch, Bf16Unit::kMaxRows);
    c.blocks = {ceil_div(s.batch, groups), groups, 0, p.positions[0], 1};
    c.across = true;
  }
  c.vecs = panel_vecs(c.padded, c.across ? c.blocks.images : p.positions[2]);
  const int64_t channels = c.tap + frame_channels(p, sizeof(bfloat16)) - p.from_channels;
  c.frame = make_frame(p, c.blocks, channels, c.tap != p.from_channels, a.prologue);
  if (Bf16Unit::kTiles && c.across && !c.frame.in_place)
    c.frame.image = round_up(c.frame.image, 32) + 32;  // rows of tiles: whole cache lines

  char* tables = static_cast<char*>(
      thread_scratch(kTables, size_t(p.passes) * sizeof(Pass) + 2 * size_t(p.taps) * sizeof(int64_t)));
  Pass* passes = reinterpret_cast<Pass*>(tables);
  make_passes(p, c.frame, c.tap, !c.across, passes,
              reinterpret_cast<int64_t*>(tables + size_t(p.passes) * sizeof(Pass)));
  c.passes = passes;
  if (a.packed_bytes) {
    *a.packed_bytes = packed_elements(c) * int64_t(sizeof(bfloat16));
    return;
  }
  c.weights = a.weight_dtype == DType::Float32 ? pack_weights(c, static_cast<const float*>(a.weight), a.packed)
                                               : pack_weights(c, static_cast<const bfloat16*>(a.weight), a.packed);

  // Where a block alone is much work for little data, panels are shared out as well.
  const int64_t all = c.panels(), wanted = smaller(smaller(s.batch * macs / (4 << 20), 16), all);
  const int64_t shares = clamped(c.blocks.count() < wanted ? ceil_div(wanted, c.blocks.count()) : 1, 1, all);
  const bfloat16* from = static_cast<const bfloat16*>(a.from);
  parallel_tasks(c.blocks.count() * shares, [&](int64_t task) {
    const BlockRange range = block_range(p, c.blocks, task / shares);
    const bfloat16* frames = block_frames<bfloat16>(p, c.frame, c.blocks, range, from, kFrames);
    const int64_t share = task % shares;
    for (int64_t i = all * share / shares; i < all * (share + 1) / shares; ++i)
      for (int64_t pass = 0; pass < p.passes; ++pass) correlate_panel(c, c.passes[pass], range, frames, i);
  });
}

}  // namespace skipway::SW_ISA

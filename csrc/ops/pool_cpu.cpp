#include "kernels/channels.h"
#include "kernels/partial.h"
#include "kernels/stream.h"
#include "ops/pool.h"

namespace skipway {
namespace SW_ISA {
namespace {

template <class T>
using Index = typename Lanes<T>::mask;  // an integer vector with as many lanes

template <class T>
using lane_int = __typeof__(Index<T>{}[0] + 0);

SW_INLINE vint to_int32(vint v) { return v; }
typedef int32_t vint_half __attribute__((vector_size(kVecBytes / 2)));
SW_INLINE vint_half to_int32(vlong v) { return __builtin_convertvector(v, vint_half); }
template <class T>
SW_INLINE void store_indices(int32_t* p, Index<T> v, int64_t count) {
  const auto narrow = to_int32(v);
  __builtin_memcpy(p, &narrow, size_t(count < Lanes<T>::n ? count : Lanes<T>::n) * 4);
}
template <class T>
SW_INLINE Index<T> load_indices(const int32_t* p, int64_t count, const int32_t* end) {
  typedef int32_t Narrow __attribute__((vector_size(4 * Lanes<T>::n)));
  Narrow v = {};
  if (count >= Lanes<T>::n || p + Lanes<T>::n <= end) {
    __builtin_memcpy(&v, p, sizeof v);
  } else {
    __builtin_memcpy(&v, p, size_t(count) * 4);
  }
  return __builtin_convertvector(v, Index<T>);
}

// `count` channels at p; four vectors of them are always whole.
template <int NV, class T>
SW_INLINE Vec<T> load_of(const T* p, int64_t count, const T* end) {
  if constexpr (NV == 4) return vload(p);
  return load_channels(p, count, end);
}
template <int NV, class T>
SW_INLINE void store_of(T* p, Vec<T> v, int64_t count, bool past = false) {
  if constexpr (NV == 4) return vstore_either(p, v, past);
  store_channels(p, v, count);
}

struct Range {
  int64_t begin, end;
};
struct Box {
  Range r[3];
};
// The windows of an output position, or those that hold an input position. Positions come one after the other, and a
// dimension is worked out again only when it changes.
template <int64_t (*Begin)(const PoolAxis&, int64_t), int64_t (*End)(const PoolAxis&, int64_t)>
struct Cursor {
  const PoolAxis* axis;
  Box box = {};
  int64_t at[3] = {-1, -1, -1};
  SW_INLINE void move(const int64_t* to) {
    for (int d = 0; d < 3; ++d) {
      if (at[d] == to[d]) continue;
      at[d] = to[d];
      box.r[d] = {Begin(axis[d], to[d]), End(axis[d], to[d])};
    }
  }
};
using WindowCursor = Cursor<window_begin, window_end>;

// first_window and end_window of one input position after the other.
struct Holders {
  const PoolAxis& axis;
  int64_t at;
  Range range;
  int64_t behind, until;  // inputs from the last window's first element on; to the next first window's last element
  SW_INLINE Holders(const PoolAxis& a, int64_t first) : axis(a) { start(first); }
  SW_INLINE void start(int64_t i) {
    at = i;
    range = {first_window(axis, i), end_window(axis, i)};
    behind = (i + axis.padding) % axis.stride;
    const int64_t beyond = i + axis.padding - (axis.kernel - 1) * axis.dilation;
    until = beyond <= 0 ? 1 - beyond : axis.stride - (beyond - 1) % axis.stride;
  }
  SW_INLINE void next() {
    if (axis.adaptive) return start(at + 1);
    ++at;
    if (++behind == axis.stride) {
      behind = 0;
      if (range.end < axis.out) ++range.end;
    }
    if (--until == 0) {
      until = axis.stride;
      ++range.begin;
    }
  }
};

SW_INLINE int64_t reads_of(const PoolAxis* axis) {
  int64_t reads = 1;
  for (int d = 0; d < 3; ++d) reads *= axis[d].adaptive ? axis[d].in / axis[d].out + 1 : axis[d].kernel;
  return reads;
}

// NV vectors of channels of one output.
template <class T, int NV>
SW_INLINE void max_window(const PoolAxis* axis, const Box& w, const T* x, int64_t c, const T* end, T* y,
                          int32_t* indices, int64_t count) {
  constexpr int L = Lanes<T>::n;
  Vec<T> best[NV];
  Index<T> at[NV];
  int64_t first = 0;  // a window may hold no element (dilated, all in the padding): -inf, at the element nearest to it
  for (int d = 0; d < 3; ++d) {
    const int64_t begin = w.r[d].begin < axis[d].in ? w.r[d].begin : axis[d].in - 1;
    first = first * axis[d].in + begin;
  }
  for (int v = 0; v < NV; ++v) {
    best[v] = vset<T>(-__builtin_inff());
    at[v] = Index<T>{} + lane_int<T>(first);
  }
  for (int64_t i = w.r[0].begin; i < w.r[0].end; i += axis[0].dilation) {
    for (int64_t j = w.r[1].begin; j < w.r[1].end; j += axis[1].dilation) {
      for (int64_t k = w.r[2].begin; k < w.r[2].end; k += axis[2].dilation) {
        const int64_t flat = (i * axis[1].in + j) * axis[2].in + k;
        for (int v = 0; v < NV; ++v) {
          const Vec<T> value = load_of<NV>(x + flat * c + v * L, count - v * L, end);
          const Index<T> larger = (Index<T>)(value > best[v]) | (Index<T>)(value != value);
          best[v] = select(larger, value, best[v]);
          at[v] = larger ? Index<T>{} + lane_int<T>(flat) : at[v];
        }
      }
    }
  }
  for (int v = 0; v < NV; ++v) {
    store_of<NV>(y + v * L, best[v], count - v * L);
    if (indices) store_indices<T>(indices + v * L, at[v], count - v * L);
  }
}

// What the sum of an output is divided by.
SW_INLINE double divisor_of(const PoolArgs& a, const int64_t* o) {
  if (a.divisor != 0) return a.divisor;
  int64_t elements = 1;
  for (int d = 0; d < 3; ++d) elements *= window_count(a.axis[d], o[d], a.count_include_pad);
  return double(elements);
}

// sum / divisor; a multiplication, which is as exact and much faster, where the divisor is a power of two.
template <class T>
struct Average {
  using S = typename Lanes<T>::scalar;
  S divisor, factor;
  bool exact;
  SW_INLINE explicit Average(double d) : divisor(S(d)), factor(1 / S(d)) {
    uint64_t bits;
    __builtin_memcpy(&bits, &d, sizeof bits);
    exact = (bits << 12) == 0 && factor * divisor == 1;
  }
  SW_INLINE Vec<T> of(Vec<T> sum) const { return exact ? sum * factor : sum / divisor; }
};

// Rows of the last axis are summed first: partial sums keep long sums accurate.
template <class T, int NV>
SW_INLINE void sum_window(const PoolAxis* axis, const Box& w, const T* x, int64_t c, const T* end, T* y, int64_t count,
                          const Average<T>& average) {
  constexpr int L = Lanes<T>::n;
  Vec<T> total[NV] = {};
  for (int64_t i = w.r[0].begin; i < w.r[0].end; ++i) {
    for (int64_t j = w.r[1].begin; j < w.r[1].end; ++j) {
      Vec<T> row[NV] = {};
      for (int64_t k = w.r[2].begin; k < w.r[2].end; ++k) {
        const T* p = x + ((i * axis[1].in + j) * axis[2].in + k) * c;
        for (int v = 0; v < NV; ++v) row[v] += load_of<NV>(p + v * L, count - v * L, end);
      }
      for (int v = 0; v < NV; ++v) total[v] += row[v];
    }
  }
  for (int v = 0; v < NV; ++v) store_of<NV>(y + v * L, average.of(total[v]), count - v * L);
}

// dx of NV vectors of channels of one input: the windows that may hold it, in order.
template <class T, bool kMax, int NV>
SW_INLINE void gradient_at(const PoolArgs& a, const Box& holders, const int64_t* at, const T* dy, const T* end,
                           const int32_t* indices, const int32_t* indices_end, T* dx, int64_t count, bool past) {
  constexpr int L = Lanes<T>::n;
  const PoolAxis* axis = a.axis;
  const Range* o = holders.r;
  const int64_t flat = (at[0] * axis[1].in + at[1]) * axis[2].in + at[2];
  const Index<T> here = Index<T>{} + lane_int<T>(flat);
  Vec<T> sum[NV] = {};
  for (int64_t i = o[0].begin; i < o[0].end; ++i) {
    for (int64_t j = o[1].begin; j < o[1].end; ++j) {
      for (int64_t k = o[2].begin; k < o[2].end; ++k) {
        const int64_t out = ((i * axis[1].out + j) * axis[2].out + k) * a.c;
        const int64_t position[3] = {i, j, k};
        const Average<T> average(kMax ? 1 : divisor_of(a, position));
        for (int v = 0; v < NV; ++v) {
          const Vec<T> g = load_of<NV>(dy + out + v * L, count - v * L, end);
          if constexpr (kMax) {
            const Index<T> index = load_indices<T>(indices + out + v * L, NV == 4 ? L : count - v * L, indices_end);
            sum[v] += index == here ? g : Vec<T>{};
          } else {
            sum[v] += average.of(g);
          }
        }
      }
    }
  }
  for (int v = 0; v < NV; ++v) store_of<NV>(dx + v * L, sum[v], count - v * L, past);
}

// Windows that lie side by side and cover the input: each input belongs to one of them.
SW_INLINE bool tiles(const PoolAxis& a) {
  if (a.out == 0) return false;
  if (a.adaptive) return a.in % a.out == 0;
  return a.kernel == a.stride && a.padding == 0 && a.dilation == 1 && a.in == a.out * a.kernel;
}

// Elements that are worked on together: of bfloat16 two vectors, those at even and at odd places.
template <class T>
struct Group {
  static constexpr int n = Lanes<T>::n;
  Vec<T> v;
  SW_INLINE static Group load(const T* p) { return {vload(p)}; }
  SW_INLINE Group operator+(const Group& o) const { return {v + o.v}; }
  SW_INLINE void store(T* p, const Average<T>& average) const { vstore(p, average.of(v)); }
};
template <>
struct Group<bfloat16> {
  static constexpr int n = 2 * Lanes<bfloat16>::n;
  EvenOdd v;
  SW_INLINE static Group load(const bfloat16* p) { return {load_even_odd(p)}; }
  SW_INLINE Group operator+(const Group& o) const { return {{v.even + o.v.even, v.odd + o.v.odd}}; }
  SW_INLINE void store(bfloat16* p, const Average<bfloat16>& average) const {
    store_even_odd(p, {average.of(v.even), average.of(v.odd)});
  }
};

// Windows that tile the input, channels in whole groups: sums in the order of sum_window, a row of outputs at a time.
// Squares of kSide in a plane are known when this is compiled; 0: any window.
template <int kSide, class T>
void tiled_average(const PoolArgs& a, const Average<T>& average) {
  const PoolAxis* axis = a.axis;
  const int64_t line = axis[2].in * a.c, plane = axis[1].in * line, width = axis[2].out * a.c;
  const int64_t rows = a.n * axis[0].out * axis[1].out;
  const int64_t reads = reads_of(axis) * width;
  parallel_for(rows, 32768 / (reads + 1) + 1, [&](int64_t begin, int64_t end) {
    const int64_t w0 = kSide > 0 ? 1 : axis[0].in / axis[0].out, w1 = kSide > 0 ? kSide : axis[1].in / axis[1].out;
    const int64_t w2 = kSide > 0 ? kSide : axis[2].in / axis[2].out;
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(a.x) + row / axis[1].out * w0 * plane + row % axis[1].out * w1 * line;
      T* y = static_cast<T*>(a.y) + row * width;
      for (int64_t o = 0; o < axis[2].out; ++o, x += w2 * a.c, y += a.c)
        for (int64_t c = 0; c < a.c; c += Group<T>::n) {
          Group<T> total{};
          for (int64_t i = 0; i < w0; ++i)
            for (int64_t j = 0; j < w1; ++j) {
              const T* p = x + i * plane + j * line + c;
              Group<T> sum{};
              for (int64_t k = 0; k < w2; ++k, p += a.c) sum = sum + Group<T>::load(p);
              total = total + sum;
            }
          total.store(y + c, average);
        }
    }
  });
}

// dx = dy / divisor, a row of inputs at a time, where windows tile the input.
template <class T>
void tiled_average_gradient(const PoolArgs& a, const T* dy, T* dx) {
  constexpr int L = Lanes<T>::n;
  int64_t window[3];
  for (int d = 0; d < 3; ++d) window[d] = a.axis[d].in / a.axis[d].out;
  const Average<T> average(a.divisor != 0 ? a.divisor : double(window[0] * window[1] * window[2]));
  const int64_t width = a.axis[2].in * a.c, rows = a.n * a.axis[0].in * a.axis[1].in;
  const bool past = a.c % L == 0 && streams(dx, rows * width * int64_t(sizeof(T)), L * int64_t(sizeof(T)));
  parallel_for(rows, 32768 / (width + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t plane = row / a.axis[1].in, y = row % a.axis[1].in;  // plane: of sample and first axis
      const int64_t n = plane / a.axis[0].in, z = plane % a.axis[0].in;
      const int64_t from = ((n * a.axis[0].out + z / window[0]) * a.axis[1].out + y / window[1]) * a.axis[2].out * a.c;
      T* to = dx + row * width;
      for (int64_t o = 0; o < a.axis[2].out; ++o)
        for (int64_t k = 0; k < window[2]; ++k, to += a.c)
          for (int64_t c = 0; c < a.c; c += L) {
            const int64_t lanes = a.c - c < L ? a.c - c : L;
            const Vec<T> g = average.of(take(dy + from + o * a.c + c, lanes));
            past ? vstore_past(to + c, g) : put(to + c, g, lanes);
          }
    }
    finish_stores(past);
  });
}

template <bool kMax>
void backward(const PoolGradArgs& args) {
  const PoolArgs& a = args.forward;
  if (!kMax && tiles(a.axis[0]) && tiles(a.axis[1]) && tiles(a.axis[2])) {
    return dispatch_float(a.dtype, [&]<class T>(Type<T>) {
      tiled_average_gradient(a, static_cast<const T*>(args.dy), static_cast<T*>(args.dx));
    });
  }
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    constexpr int L = Lanes<T>::n;
    const PoolAxis* axis = a.axis;
    const int64_t rows = a.n * axis[0].in * axis[1].in, width = axis[2].in;
    const int64_t plane = axis[0].out * axis[1].out * axis[2].out * a.c;
    const T *dy = static_cast<const T*>(args.dy), *end = dy + a.n * plane;
    const int32_t* indices_end = kMax ? a.indices + a.n * plane : nullptr;
    const int64_t segment = kChannelWork / (a.c + 1) + 1, segments = (width + segment - 1) / segment;  // of a row
    const bool past =
        a.c % (4 * L) == 0 && streams(args.dx, rows * width * a.c * int64_t(sizeof(T)), L * int64_t(sizeof(T)));
    const int64_t grain = segments > 1 ? 1 : kChannelWork / (width * a.c + 1) + 1;
    parallel_for(rows * segments, grain, [&](int64_t first, int64_t last) {
      for (int64_t task = first; task < last; ++task) {
        const int64_t row = task / segments, n = row / (axis[0].in * axis[1].in), from = task % segments * segment;
        int64_t at[3] = {row / axis[1].in % axis[0].in, row % axis[1].in, from};
        const int64_t until = from + segment < width ? from + segment : width;
        Holders columns(axis[2], from);
        Box holders = {};
        for (int d = 0; d < 2; ++d) holders.r[d] = {first_window(axis[d], at[d]), end_window(axis[d], at[d])};
        for (; at[2] < until; ++at[2], columns.next()) {
          holders.r[2] = columns.range;
          const auto run = [&]<int NV>(Type<int[NV]>, int64_t c) {
            gradient_at<T, kMax, NV>(a, holders, at, dy + n * plane + c, end,
                                     kMax ? a.indices + n * plane + c : nullptr, indices_end,
                                     static_cast<T*>(args.dx) + (row * width + at[2]) * a.c + c, a.c - c, past);
          };
          int64_t c = 0;
          for (; c + 4 * L <= a.c; c += 4 * L) run(Type<int[4]>{}, c);
          for (; c < a.c; c += L) run(Type<int[1]>{}, c);
        }
      }
      finish_stores(past);
    });
  });
}

// f(window, output position, channels' x, y and count) with as many vectors of channels at once as fit.
template <class T, class F>
SW_INLINE void for_outputs(const PoolArgs& a, const F& f) {
  const int64_t size[3] = {a.axis[0].out, a.axis[1].out, a.axis[2].out};
  const int64_t plane = a.axis[0].in * a.axis[1].in * a.axis[2].in * a.c;
  const T* x = static_cast<const T*>(a.x);
  const WindowCursor start{a.axis};
  for_positions(a.n, size, a.c, reads_of(a.axis), start,
                [&](WindowCursor& cursor, int64_t n, const int64_t* o, int64_t c0, int64_t c1, int64_t flat) {
                  cursor.move(o);
                  const Box& w = cursor.box;
                  int64_t c = c0;
                  for (; c + 4 * Lanes<T>::n <= c1; c += 4 * Lanes<T>::n) {
                    f(Type<int[4]>{}, w, o, x + n * plane + c, flat * a.c + c, 4 * Lanes<T>::n);
                  }
                  for (; c < c1; c += Lanes<T>::n) f(Type<int[1]>{}, w, o, x + n * plane + c, flat * a.c + c, c1 - c);
                });
}

}  // namespace

void max_pool_forward(const PoolArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    const T* end = static_cast<const T*>(a.x) + a.n * a.c * a.axis[0].in * a.axis[1].in * a.axis[2].in;
    for_outputs<T>(a, [&]<int NV>(Type<int[NV]>, const Box& w, const int64_t*, const T* x, int64_t y, int64_t count) {
      max_window<T, NV>(a.axis, w, x, a.c, end, static_cast<T*>(a.y) + y, a.indices ? a.indices + y : nullptr, count);
    });
  });
}

void avg_pool_forward(const PoolArgs& a) {
  const bool tiled = tiles(a.axis[0]) && tiles(a.axis[1]) && tiles(a.axis[2]), same = a.divisor != 0 || tiled;
  const int64_t first[3] = {0, 0, 0};
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    const Average<T> common(same ? divisor_of(a, first) : 1);
    if (tiled && a.c % Group<T>::n == 0) {
      const auto is = [&](int d, int64_t size) { return a.axis[d].in == size * a.axis[d].out; };
      return is(0, 1) && is(1, 2) && is(2, 2) ? tiled_average<2>(a, common) : tiled_average<0>(a, common);
    }
    const T* end = static_cast<const T*>(a.x) + a.n * a.c * a.axis[0].in * a.axis[1].in * a.axis[2].in;
    for_outputs<T>(a, [&]<int NV>(Type<int[NV]>, const Box& w, const int64_t* o, const T* x, int64_t y, int64_t count) {
      sum_window<T, NV>(a.axis, w, x, a.c, end, static_cast<T*>(a.y) + y, count,
                        same ? common : Average<T>(divisor_of(a, o)));
    });
  });
}

void max_pool_backward(const PoolGradArgs& args) { backward<true>(args); }
void avg_pool_backward(const PoolGradArgs& args) { backward<false>(args); }

void max_unpool_kernel(const UnpoolArgs& a) {
  dispatch_bytes(a.dtype, [&]<class T>(Type<T>) {
    parallel_for(a.planes, kChannelWork / (a.small + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        const int64_t* index = a.indices + plane * a.small;
        T* y = static_cast<T*>(a.y) + plane * (a.gather ? a.small : a.large);
        const T* x = static_cast<const T*>(a.x) + plane * (a.gather ? a.large : a.small);
        for (int64_t i = 0; i < a.small; ++i) {
          if (a.gather) {
            y[i] = x[index[i]];
          } else {
            y[index[i]] = x[i];
          }
        }
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway

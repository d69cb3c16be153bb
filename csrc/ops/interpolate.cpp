#include "ops/interpolate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/pool.h"

namespace skipway {
namespace {

enum class Mode { Nearest, NearestExact, Linear, Cubic };

// The taps of one dimension, by output; or, transposed, by input.
struct Taps {
  int64_t in = 1, out = 1;
  std::vector<int32_t> start{0}, index;
  std::vector<double> weight;

  void add(int64_t i, double w) {
    index.push_back(int32_t(std::clamp<int64_t>(i, 0, in - 1)));
    weight.push_back(w);
  }
  void close() { start.push_back(int32_t(index.size())); }
  ResampleAxis axis() const { return {in, out, start.data(), index.data(), weight.data()}; }
};

void add_cubic(Taps& taps, double u) {
  const double a = -0.75, base = std::floor(u), t = u - base;
  const auto near = [&](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };       // |d| <= 1
  const auto far = [&](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };  // 1 < |d| < 2
  const double weights[4] = {far(t + 1), near(t), near(1 - t), far(2 - t)};
  for (int k = 0; k < 4; ++k)
    if (weights[k] != 0) taps.add(int64_t(base) - 1 + k, weights[k]);  // not 0 times infinity
}

Taps make_taps(Mode mode, int64_t in, int64_t out, double scale_factor, bool align_corners) {
  Taps taps;
  taps.in = in;
  taps.out = out;
  const double plain = scale_factor > 0 ? 1 / scale_factor : double(in) / double(out);
  const double scale = !align_corners ? plain : out > 1 ? double(in - 1) / double(out - 1) : 0;
  for (int64_t o = 0; o < out; ++o) {
    const double u = align_corners ? scale * double(o) : scale * (double(o) + 0.5) - 0.5;
    if (mode == Mode::Nearest ||
        mode == Mode::NearestExact) {  // in float32, whose rounding decides ties in PyTorch too
      const float at = mode == Mode::Nearest ? float(o) * float(plain) : (float(o) + 0.5f) * float(plain);
      taps.add(int64_t(std::floor(at)), 1);
    } else if (mode == Mode::Linear) {
      const double from = std::max(u, 0.0);
      const int64_t first = std::min(int64_t(from), in - 1);
      const double t = std::clamp(from - double(first), 0.0, 1.0);
      taps.add(first, 1 - t);
      if (t > 0 && first + 1 < in) {
        taps.add(first + 1, t);
      } else {
        taps.weight.back() = 1;
      }
    } else {
      add_cubic(taps, u);
    }
    taps.close();
  }
  return taps;
}

Taps transposed(const Taps& taps) {
  Taps result;
  result.in = taps.out;
  result.out = taps.in;
  std::vector<std::vector<std::pair<int32_t, double>>> of_input(static_cast<size_t>(taps.in));
  for (int64_t o = 0; o < taps.out; ++o) {
    for (int32_t k = taps.start[size_t(o)]; k < taps.start[size_t(o) + 1]; ++k) {
      of_input[size_t(taps.index[size_t(k)])].emplace_back(int32_t(o), taps.weight[size_t(k)]);
    }
  }
  for (const auto& list : of_input) {
    for (const auto& [o, w] : list) result.add(o, w);
    result.close();
  }
  return result;
}

struct Resampling {
  Taps axis[3];
};

// The tables of the three axes on a device, in one piece of memory: weights first, as they want the larger alignment.
Tensor on_device(const Resampling& r, Device device, ResampleAxis* axis) {
  std::vector<uint8_t> host;
  const auto append = [&](const auto& table) {
    const size_t at = host.size(), bytes = table.size() * sizeof(table[0]);
    host.resize(at + bytes);
    std::memcpy(host.data() + at, table.data(), bytes);
    return at;
  };
  size_t weight[3], start[3], index[3];
  for (int d = 0; d < 3; ++d) weight[d] = append(r.axis[d].weight);
  for (int d = 0; d < 3; ++d) start[d] = append(r.axis[d].start);
  for (int d = 0; d < 3; ++d) index[d] = append(r.axis[d].index);
  const Tensor tables = empty({int64_t(host.size())}, DType::UInt8, device);
  copy_memory(tables.data(), device, host.data(), Device{}, host.size());
  const auto* base = tables.data_as<uint8_t>();
  for (int d = 0; d < 3; ++d) {
    axis[d].weight = reinterpret_cast<const double*>(base + weight[d]);
    axis[d].start = reinterpret_cast<const int32_t*>(base + start[d]);
    axis[d].index = reinterpret_cast<const int32_t*>(base + index[d]);
  }
  return tables;
}

void resample(const Tensor& in, const Tensor& y, const Resampling& r) {
  ResampleArgs a{};
  a.dtype = in.dtype();
  a.n = in.size(0);
  a.c = in.size(1);
  for (int d = 0; d < 3; ++d) a.axis[d] = r.axis[d].axis();
  a.x = in.data();
  a.y = y.data();
  if (y.numel() == 0) return;
  Tensor tables;
  if (!in.device().is_cpu()) tables = on_device(r, in.device(), a.axis);
  launch(in.device(), resample_kernel, a);
}

Mode parse_mode(const std::string& mode, int dims, const Tensor& x) {
  if (mode == "nearest") return Mode::Nearest;
  if (mode == "nearest-exact") return Mode::NearestExact;
  if ((mode == "linear" && dims == 1) || (mode == "bilinear" && dims == 2) || (mode == "trilinear" && dims == 3)) {
    return Mode::Linear;
  }
  SW_CHECK_VALUE(mode == "bicubic" && dims == 2, "interpolate: mode '", mode, "' does not apply to input of shape ",
                 x.shape());
  return Mode::Cubic;
}

}  // namespace

Tensor interpolate(const Tensor& x, const Shape& size, const std::vector<double>& scales, const std::string& mode,
                   bool align_corners) {
  check_floating("interpolate", "input", x);
  const int dims = x.dim() - 2;
  SW_CHECK_SHAPE(dims >= 1 && dims <= 3, "interpolate: expected (N, C, ...) input of 3 to 5 dimensions, got ",
                 x.shape());
  SW_CHECK_SHAPE(size.size() == dims, "interpolate: expected a size of ", dims, " numbers, got ", size);
  Shape shape = x.shape();
  for (int d = 0; d < dims; ++d) {
    SW_CHECK_SHAPE(x.size(2 + d) > 0, "interpolate: expected spatial dimensions of at least 1, got input ", x.shape());
    SW_CHECK_SHAPE(size[d] > 0 && size[d] < INT32_MAX / 4, "interpolate: expected output sizes from 1 to ",
                   INT32_MAX / 4, ", got ", size);
    shape[2 + d] = size[d];
  }
  if (mode == "area") return adaptive_avg_pool("interpolate", dims, x, size);
  const Mode kind = parse_mode(mode, dims, x);
  const Tensor y = empty_channels_last(shape, x.dtype(), x.device());
  Resampling r;
  for (Taps& unit : r.axis) unit = make_taps(Mode::Nearest, 1, 1, 0, false);
  for (int d = 0; d < dims; ++d) {
    r.axis[3 - dims + d] =
        make_taps(kind, x.size(2 + d), size[d], scales.empty() ? 0 : scales[size_t(d)], align_corners);
  }
  resample(channels_last(x.alias()), y, r);
  tape::record("interpolate", {y}, {x}, {}, [r, in_shape = x.shape()](tape::Backward& b) {
    Resampling back;
    for (int d = 0; d < 3; ++d) back.axis[d] = transposed(r.axis[d]);
    Tensor dx = empty_channels_last(in_shape, b.grad().dtype(), b.grad().device());
    resample(channels_last(b.grad()), dx, back);
    b.give(0, dx);
  });
  return y;
}

}  // namespace skipway

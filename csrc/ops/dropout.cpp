#include "ops/dropout.h"

#include <cmath>

#include "autograd/tape.h"
#include "core/cuda_graph.h"
#include "core/generator.h"
#include "ops/copy.h"

namespace skipway {
namespace {

// How the logical dimensions of x are read: whole channels are dropped when per_channel is set.
struct Reading {
  bool per_channel = false;
  bool batched = true;  // (N, C, ...) rather than (C, ...)
};

DropoutArgs arguments(const Tensor& like, const Reading& reading, RngKey key, double p) {
  const Shape& shape = like.shape();
  DropoutArgs a{};
  a.dtype = like.dtype();
  a.key = key;
  a.threshold = bernoulli_threshold(p);
  a.images = a.channels = 1;
  a.spatial = like.numel();
  if (reading.per_channel || (like.dim() >= 3 && !like.is_contiguous())) {
    a.images = reading.batched ? shape[0] : 1;
    a.channels = reading.batched ? shape[1] : shape[0];
    a.spatial = 1;
    for (int d = reading.batched ? 2 : 1; d < shape.size(); ++d) a.spatial *= shape[d];
  }
  a.per_channel = reading.per_channel;
  a.scale = p < 1 ? 1 / (1 - p) : 0;
  return a;
}

bool direct(const Tensor& x, const Reading& reading) {
  return x.is_contiguous() || (reading.batched && x.dim() >= 3 && x.is_channels_last());
}

// y = dropout(x) in x's layout; y may share x's memory.
void run(const Tensor& x, const Tensor& y, const Reading& reading, RngKey key, double p, double scale, double shift,
         double dropped, const Tensor& mask, bool read_mask) {
  SW_CHECK(
      !key.base || cuda::capturing(),
      "dropout: the forward pass was captured in a CUDA graph, whose replays draw other masks; capture the backward "
      "pass in the same graph");
  DropoutArgs a = arguments(x, reading, key, p);
  a.channels_last = !x.is_contiguous();
  a.x = x.data();
  a.y = y.data();
  a.scale = scale;
  a.shift = shift;
  a.dropped = dropped;
  if (mask.defined()) a.mask = mask.data_as<uint8_t>();
  a.read_mask = read_mask;
  launch(x.device(), dropout_kernel, a);
}

// Where the draws of a forward pass over x are kept (see DropoutArgs); undefined where they are to be drawn again.
Tensor empty_mask(const Tensor& x, const Reading& reading) {
  const bool whole_bytes = x.is_contiguous() || x.size(1) % 8 == 0;
  if (!x.device().is_cpu() || reading.per_channel || !whole_bytes) return {};
  return empty(Shape{(x.numel() + 63) / 64 * 8}, DType::UInt8, x.device());
}

Tensor apply(const char* op, const Tensor& x, double p, bool training, bool inplace, const Reading& reading,
             bool alpha) {
  check_floating(op, "input", x);
  SW_CHECK_VALUE(p >= 0 && p <= 1, op, ": expected p in [0, 1], got ", p);
  if (!training || p == 0) return x;
  if (inplace) tape::begin_inplace(op, x);
  double scale = p < 1 ? 1 / (1 - p) : 0, shift = 0, dropped = 0;
  if (alpha && p < 1) {
    const double low = -1.7580993408473766;
    scale = 1 / std::sqrt((1 - p) * (1 + p * low * low));
    shift = -scale * low * p;
    dropped = scale * low + shift;
  }
  const RngKey key = default_generator()->next(x.device());
  const Tensor in = direct(x, reading) ? x : contiguous(x.alias());
  Tensor y = inplace && direct(x, reading) ? x.alias() : empty_like(in);
  const Tensor mask = tape::should_record({x}) ? empty_mask(in, reading) : Tensor();
  run(in, y, reading, key, p, scale, shift, dropped, mask, false);
  const bool row_major = in.is_contiguous();
  tape::record(op, {y}, {x}, {mask}, [=](tape::Backward& b) {
    const Tensor dy = direct(b.grad(), reading) ? b.grad() : contiguous(b.grad());
    Tensor dx = empty_like(dy);
    const Tensor kept = dy.is_contiguous() == row_major ? b.saved(0) : Tensor();  // in the memory order of the forward
    run(dy, dx, reading, key, p, scale, 0, 0, kept, kept.defined());
    b.give(0, dx);
  });
  if (!inplace) return y;
  if (y.storage() != x.storage()) copy_into(x, y);
  tape::finish_inplace(x, y);
  return x;
}

Tensor drop_channels(const char* op, const Tensor& x, double p, bool training, bool inplace, int batched_dim) {
  check_defined(op, "input", x);
  SW_CHECK_SHAPE(x.dim() == batched_dim || x.dim() == batched_dim - 1, op, ": expected ", batched_dim - 1, " or ",
                 batched_dim, " dimensions, got ", x.shape());
  return apply(op, x, p, training, inplace, {true, x.dim() == batched_dim}, false);
}

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training, bool inplace) {
  return apply("dropout", x, p, training, inplace, {}, false);
}
Tensor dropout1d(const Tensor& x, double p, bool training, bool inplace) {
  return drop_channels("dropout1d", x, p, training, inplace, 3);
}
// A 3-D input is (N, C, L) here, as in PyTorch.
Tensor dropout2d(const Tensor& x, double p, bool training, bool inplace) {
  check_defined("dropout2d", "input", x);
  SW_CHECK_SHAPE(x.dim() >= 2, "dropout2d: expected at least 2 dimensions (N, C, ...), got ", x.shape());
  return apply("dropout2d", x, p, training, inplace, {true, true}, false);
}
Tensor dropout3d(const Tensor& x, double p, bool training, bool inplace) {
  return drop_channels("dropout3d", x, p, training, inplace, 5);
}
Tensor alpha_dropout(const Tensor& x, double p, bool training, bool inplace) {
  return apply("alpha_dropout", x, p, training, inplace, {}, true);
}
Tensor feature_alpha_dropout(const Tensor& x, double p, bool training, bool inplace) {
  check_defined("feature_alpha_dropout", "input", x);
  SW_CHECK_SHAPE(x.dim() >= 2, "feature_alpha_dropout: expected at least 2 dimensions (N, C, ...), got ", x.shape());
  return apply("feature_alpha_dropout", x, p, training, inplace, {true, true}, true);
}

}  // namespace skipway

// Rows are positions, [row][channel].
#include "core/parallel.h"
#include "kernels/conv_moments.h"
#include "kernels/fused.h"
#include "kernels/gemm.h"
#include "ops/conv_fused.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kPart = 5, kParts };
constexpr int64_t kPartRows = 1024;

int64_t positions(const int64_t* size) { return size[0] * size[1] * size[2]; }

// y = act(y * scale[c] + shift[c] + residual) for the channels [c0, c1) of rows; scale and residual may be null.
template <class S, FusedAct A>
void map_rows(int64_t rows, int64_t channels, int64_t c0, int64_t c1, const float* scale, const float* shift,
              const S* residual, S* y) {
  constexpr int n = Lanes<S>::n;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = c0; c < c1; c += n) {
      const int64_t at = row * channels + c, lanes = smaller(n, c1 - c);
      vfloat z = take(y + at, lanes);
      if (scale) z = z * take(scale + c, lanes) + take(shift + c, lanes);
      if (residual) z += take(residual + at, lanes);
      put(y + at, fused_act<A>(z), lanes);
    }
}

template <class S>
void part_moments(int64_t rows, int64_t channels, const S* z, double* result) {
  constexpr int n = Lanes<S>::n;
  float* memory = static_cast<float*>(thread_scratch(kPart, size_t(3 * channels) * sizeof(float)));
  const PartMoments part{memory, channels};
  for (int64_t c = 0; c < channels; c += n) {
    const int64_t lanes = smaller(n, channels - c);
    const vfloat pivot = take(z + c, lanes);
    vfloat sum{}, squares{};
    for (int64_t row = 0; row < rows; ++row) {
      const vfloat d = take(z + row * channels + c, lanes) - pivot;
      sum += d;
      squares += d * d;
    }
    part.begin(pivot, c, lanes);
    put(memory + channels + c, sum, lanes);
    put(memory + 2 * channels + c, squares, lanes);
  }
  part.end(rows, 0, channels, result);
}

}  // namespace

template <class S>
void epilogue_rows(const ConvEpilogue& e, S* y, int64_t channels, int64_t row, int64_t rows, int64_t c0, int64_t c1) {
  const int64_t at = row * channels;
  const S* residual = static_cast<const S*>(e.residual);
  dispatch_act(e.act, [&]<FusedAct A>(ActTag<A>) {
    map_rows<S, A>(rows, channels, c0, c1, e.scale, e.shift, residual ? residual + at : nullptr, y + at);
  });
}
template void epilogue_rows<float>(const ConvEpilogue&, float*, int64_t, int64_t, int64_t, int64_t, int64_t);
template void epilogue_rows<bfloat16>(const ConvEpilogue&, bfloat16*, int64_t, int64_t, int64_t, int64_t, int64_t);

namespace {

template <class S>
void finish(const ConvForwardArgs& a) {
  const ConvEpilogue& e = a.epilogue;
  const int64_t channels = a.shape.out_channels, rows = a.shape.batch * positions(a.shape.out);
  const int64_t length = clamped((64 << 10) / channels, 1, kPartRows), parts = ceil_div(rows, length);
  S* y = static_cast<S*>(a.y);
  double* moments =
      e.mean ? static_cast<double*>(thread_scratch(kParts, size_t(2 * parts * channels) * sizeof(double))) : nullptr;
  parallel_tasks(parts, [&](int64_t part) {
    const int64_t begin = part * length, count = smaller(length, rows - begin), at = begin * channels;
    if (moments) part_moments(count, channels, y + at, moments + 2 * part * channels);
    if (e.maps()) epilogue_rows(e, y, channels, begin, count, 0, channels);
  });
  if (!moments) return;
  for (int64_t c = 0; c < channels; ++c) e.mean[c] = e.deviations[c] = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const double* from = moments + 2 * part * channels;
    for (int64_t c = 0; c < channels; ++c)
      combine_moments(e.mean[c], e.deviations[c], part * length, from[c], from[channels + c],
                      smaller(length, rows - part * length));
  }
}

}  // namespace

void epilogue_pass(const ConvForwardArgs& a) {
  if (a.dtype == DType::BFloat16) return finish<bfloat16>(a);
  finish<float>(a);
}

}  // namespace skipway::SW_ISA

// The written rule: which kernel a convolution runs in, how large its tiles are, and how it is cut. Only shapes,
// dtypes, addresses and the device count, so that the same call always gives the same bits. For comparisons
// SKIPWAY_CUDA_CONV may be "tiles" (no warpgroups) or "warpgroups" (wherever they can run).
#include <cstdlib>
#include <cstring>

#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

int64_t pixels(const int64_t (&size)[3]) { return size[0] * size[1] * size[2]; }
bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Why no kernel with 16-byte copies can run it; null if one may.
const char* obstacle(const ConvProblem& c, const Stream& stream) {
  const ConvShape& s = c.shape;
  if (s.batch == 0) return "an empty batch";
  if (c.dtype == DType::Float64) return "float64 has no tensor cores";
  if (stream.compute_capability < 80) return "the device is older than sm_80: no cp.async";
  if (s.in[0] != 1 || s.kernel[0] != 1 || s.out[0] != 1 || s.padding[0] != 0) return "three dimensions";
  if (s.groups > 4096) return "very many groups";
  for (const void* p : {c.x, c.y, c.residual})
    if (!aligned(p)) return "data that does not lie at a multiple of 16 bytes";
  return nullptr;
}

bool pointwise(const ConvShape& s) {
  for (int d = 0; d < 3; ++d)
    if (s.kernel[d] != 1 || s.stride[d] != 1 || s.padding[d] != 0 || s.in[d] != s.out[d]) return false;
  return s.groups == 1;
}

int64_t tiles(int64_t rows, int64_t columns, int64_t size) { return ceil_div(rows, size) * ceil_div(columns, size); }

// Three stages of two operands with 64 bytes of k.
void set_tile(ConvChoice& choice, bool large) {
  choice.tile = large ? TileSize::Large : TileSize::Small;
  choice.threads = large ? 256 : 128;
  choice.shared = 3 * 64 * 2 * (large ? 128 : 64);
}

// Tiles of 128 positions x 128 or 64 result channels by warpgroups, where they do at most a third more than is asked
// for and fill the device. The rest of `choice` stays: tiles by warps, should the driver make no tensor maps.
void choose_warpgroups(const ConvProblem& c, const Stream& stream, ConvChoice& choice) {
  const char* wish = std::getenv("SKIPWAY_CUDA_CONV");
  const bool always = wish && std::strcmp(wish, "warpgroups") == 0;
  if (c.dtype == DType::Float32 || c.prologue || (wish && std::strcmp(wish, "tiles") == 0)) return;
  const ConvShape& s = c.shape;
  const bool gradient = c.pass == ConvPass::DataGrad;
  const int64_t channels = gradient ? s.out_channels : s.in_channels,
                results = gradient ? s.in_channels : s.out_channels;
  const int64_t phases = gradient ? s.stride[1] * s.stride[2] : 1, tiles = warpgroup_tiles(s, gradient, stream);
  if (tiles == 0) return;
  const double asked = double(s.batch * pixels(gradient ? s.in : s.out)) * double(channels * results);
  for (const int columns : {128, 64}) {
    const int64_t blocks = tiles * ceil_div(results, columns) * phases;
    const double done = double(blocks * columns * 128) * double(ceil_div(channels, 64) * 64);
    const bool pays = done * 3 <= asked * 4 && blocks >= stream.multiprocessors;
    if (!pays && !(always && (columns == 64 || results > 64))) continue;
    choice.method = ConvMethod::Warpgroups;
    choice.columns = columns;
    choice.blocks = blocks;
    choice.threads = 288;
    choice.shared = warpgroup_shared(columns);
    choice.why = pays ? "sm_90a, many channels, and tiles enough for the device" : "asked for";
    return;
  }
}

}  // namespace

ConvChoice choose_conv(const ConvProblem& c, const Stream& stream) {
  const ConvShape& s = c.shape;
  ConvChoice choice;
  if (const char* why = obstacle(c, stream)) {
    choice.why = why;
    return choice;
  }
  const int64_t channels = s.in_channels / s.groups, results = s.out_channels / s.groups;
  const bool half = c.dtype != DType::Float32;
  const int64_t multiprocessors = stream.multiprocessors;
  choice.library = pointwise(s) && !c.fused;
  if (half && c.pass != ConvPass::WeightGrad && !choice.library) {
    choice.warps = halo_warps(s, c.pass == ConvPass::DataGrad, stream);
    if (choice.warps > 0) {
      choice.method = ConvMethod::Halos;
      halo_launch(s, c.pass == ConvPass::DataGrad, stream, choice);
      choice.why = "64 channels or fewer: the filter stays in shared memory";
      return choice;
    }
  }
  if (results % 8 != 0) {
    choice.why = "output channels of a group are no multiple of 8";
    return choice;
  }
  if (channels % 8 != 0 && (c.pass != ConvPass::WeightGrad || s.groups != 1)) {
    choice.why = "input channels of a group are no multiple of 8";
    return choice;
  }
  choice.method = ConvMethod::Tiles;
  if (c.pass == ConvPass::WeightGrad) {
    const int64_t positions = s.batch * pixels(s.out), columns = (channels + 7) / 8 * 8 * pixels(s.kernel);
    const bool large = half && results > 64 && columns > 64;
    const int64_t blocks = tiles(results, columns, large ? 128 : 64) * s.groups;
    // Two waves of blocks (2 large ones or 4 small ones share a multiprocessor), of no fewer than 256 positions each.
    const int64_t wanted = ceil_div(2 * multiprocessors * (large ? 2 : 4), blocks), most = ceil_div(positions, 256);
    const int64_t pieces = wanted < most ? wanted : most;
    set_tile(choice, large);
    choice.piece = int(ceil_div(ceil_div(positions, pieces), 32) * 32);
    choice.pieces = int(ceil_div(positions, choice.piece));
    choice.blocks = blocks * choice.pieces;
    choice.why = large ? "more than 64 channels on both sides" : half ? "64 channels or fewer on one side" : "float32";
    return choice;
  }
  const bool forward = c.pass == ConvPass::Forward;
  const int64_t phases = forward ? 1 : s.stride[1] * s.stride[2];
  const int64_t rows = s.batch * pixels(forward ? s.out : s.in), columns = forward ? results : channels;
  const bool fills = tiles(rows, columns, 128) * s.groups >= multiprocessors * (phases > 1 ? 2 : 1);
  const bool large = half && columns > 64 && fills;
  set_tile(choice, large);
  choice.blocks = tiles(ceil_div(rows, phases), columns, large ? 128 : 64) * s.groups * phases;
  choice.why = large           ? "more than 64 result channels, and tiles enough for the device"
               : !half         ? "float32"
               : columns <= 64 ? "64 result channels or fewer"
                               : "large tiles would not fill the device";
  choose_warpgroups(c, stream, choice);
  return choice;
}

std::string describe(const ConvProblem& problem, const ConvChoice& choice) {
  const int size = choice.tile == TileSize::Large ? 128 : 64;
  const ConvShape& s = problem.shape;
  std::string what = concat("tiles ", size, "x", size), why = choice.why;
  if (choice.method == ConvMethod::Plain) what = "plain";
  if (choice.method == ConvMethod::Halos)
    what = concat("halos ", choice.warps * 32, "x",
                  halo_columns(problem.pass == ConvPass::DataGrad ? s.in_channels : s.out_channels));
  if (choice.method == ConvMethod::Warpgroups) what = concat("wgmma 128x", choice.columns);
  if (problem.pass == ConvPass::WeightGrad && choice.method == ConvMethod::Tiles)
    what += concat(", ", choice.pieces, " pieces");
  if (problem.fused && choice.method != ConvMethod::Plain) what += ", fused";
  if (choice.library) what = "cublas, or " + what, why = "a pointwise convolution is a product of matrices";
  return concat(what, "\n", why, "\n", choice.blocks, " ", choice.threads, " ", choice.shared);
}

}  // namespace skipway::cuda

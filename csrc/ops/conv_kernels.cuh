// The convolution's kernels by what they do, for conv_cuda.cu to choose from.
#pragma once
#include <string>

#include "kernels/conv_choice.h"
#include "kernels/cuda/conv_epilogue.cuh"
#include "ops/conv.h"

namespace skipway::cuda {

// ---- what to run (conv_choice_cuda.cu)

enum class ConvMethod {
  Plain,       // conv_plain_cuda.cu: every shape and dtype, by multiply-adds
  Halos,       // conv_halo_cuda.cu: few channels
  Tiles,       // conv_gemm_cuda.cu, conv_weight_cuda.cu: implicit matrix products of tiles
  Warpgroups,  // conv_wgmma_cuda.cu: the same on sm_90a, for many channels
};
enum class TileSize { Small, Large };  // 64 x 64 and 128 x 128 results

struct ConvProblem {
  ConvShape shape;
  DType dtype;
  ConvPass pass;
  bool fused;                                                  // there is more to do than the convolution
  const void *x = nullptr, *y = nullptr, *residual = nullptr;  // addresses, or null if not known yet
  bool prologue = false;
};
struct ConvChoice {
  ConvMethod method = ConvMethod::Plain;
  bool library = false;  // first ask cuBLAS
  TileSize tile = TileSize::Small;
  int warps = 0;              // of a block that walks over halos
  int columns = 0;            // of a tile that warpgroups compute
  int pieces = 1, piece = 0;  // of a weight gradient's sum: how many, and positions in each
  int64_t blocks = 0;         // of the launch that multiplies, of the fast kernels
  int threads = 0;
  int64_t shared = 0;  // bytes of a block
  const char* why = "";
};
// Shared memory that a block may have, in bytes.
inline int shared_memory(const Stream& s) {
  const int c = s.compute_capability;
  return c == 80 || c == 87 ? 163 << 10 : c >= 90 && c < 120 ? 227 << 10 : 99 << 10;
}
ConvChoice choose_conv(const ConvProblem& problem, const Stream& stream);
std::string describe(const ConvProblem& problem, const ConvChoice& choice);  // as conv_cuda_plan of ops/conv.h

// ---- what they have in common

// A correlation of 16-byte aligned, channels-last images: forward, or data gradient.
struct Correlation {
  ConvShape shape;
  DType dtype;
  bool gradient;  // data gradient: from is dy, to is dx
  bool tf32;      // float32 on tensor cores
  const void *from, *weight;
  void* to;
  ConvPrologue prologue;
  Epilogue epilogue;

  int64_t from_channels() const { return (gradient ? shape.out_channels : shape.in_channels) / shape.groups; }
  int64_t to_channels() const { return (gradient ? shape.in_channels : shape.out_channels) / shape.groups; }
};

// ---- sums (conv_sums_cuda.cu)

// to[row][c][tap] = the sum over pieces, in order, of partial[piece][row][tap][c] in the math type; of `padded`
// channels c, the first `channels` are kept.
struct PieceSums {
  int64_t rows, taps, padded, channels, pieces;
};
void sum_pieces(const PieceSums& s, DType dtype, const void* partial, void* to, const Stream& stream);

// Mean and squared deviations of each channel of a dense [rows, channels] matrix.
void matrix_moments(int64_t rows, int64_t channels, const void* z, DType dtype, double* mean, double* deviations,
                    const Stream& stream);

// The moments that an epilogue asks for (epilogue.map.mean), first of each of `parts` tiles.
class PartialMoments {
 public:
  PartialMoments(const Correlation& c, int64_t parts, const Stream& stream);
  float* partial() const { return memory_.as<float>(); }  // null if none are asked for
  void join() const;

 private:
  int64_t channels() const { return correlation_.shape.out_channels; }
  const Correlation& correlation_;
  const Stream& stream_;
  int64_t parts_;
  Workspace memory_;
};

// The sums that a data gradient's epilogue asks for (epilogue.sums), first of each of `parts` tiles.
class PartialSums {
 public:
  PartialSums(const Correlation& c, int64_t parts, const Stream& stream);
  float* partial() const { return memory_.as<float>(); }  // null if none are asked for
  void join() const;

 private:
  const Correlation& correlation_;
  const Stream& stream_;
  int64_t parts_;
  Workspace memory_;
};

// ---- kernels that multiply

inline constexpr int kMostPhases = 4;  // in one launch

// weight (out, in / groups, taps) as [group][result channel][tap][source channel].
void pack_filter(const Correlation& c, void* packed, const Stream& stream);
void correlate(const Correlation& c, TileSize tile, const Stream& stream);

// For few channels (conv_halo_cuda.cu), 16-bit types: warps of a block, or 0 if this is not for it; and the launch.
int halo_warps(const ConvShape& shape, bool gradient, const Stream& stream);
void halo_launch(const ConvShape& shape, bool gradient, const Stream& stream, ConvChoice& choice);
int halo_columns(int64_t channels);  // result channels of a block
void correlate_few_channels(const Correlation& c, int warps, const Stream& stream);

// For many channels on sm_90a (conv_wgmma_cuda.cu), 16-bit types without a prologue: tiles of 128 positions, or 0 if
// this device cannot run it; bytes of shared memory; and the launch, which is false if the driver makes no tensor maps.
int64_t warpgroup_tiles(const ConvShape& shape, bool gradient, const Stream& stream);
int64_t warpgroup_shared(int columns);
bool correlate_by_warpgroups(const Correlation& c, int columns, const Stream& stream);

void plain_forward(const ConvForwardArgs& a, const void* x, const Stream& stream);
void plain_data_grad(const ConvDataGradArgs& a, const Stream& stream);
void plain_weight_grad(const ConvWeightGradArgs& a, const void* x, const Stream& stream);
// What Plain does not do (conv_fused_cuda.cu): the prologue of x into a copy, and the epilogue of y in place.
class PlainImage {
 public:
  PlainImage(const ConvShape& shape, DType dtype, const void* x, const ConvPrologue& prologue, const Stream& stream);
  const void* data() const { return data_; }  // x itself if there is no prologue

 private:
  Workspace copy_;
  const void* data_;
};
void plain_epilogue(const ConvForwardArgs& a, const Stream& stream);

// partial[piece][k][tap][c] in float32, summed into dweight (k, c, tap).
void weight_gradient(const ConvWeightGradArgs& a, const ConvChoice& choice, const Stream& stream);

}  // namespace skipway::cuda

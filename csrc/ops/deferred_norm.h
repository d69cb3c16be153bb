// Deferred pointwise ops around batch norm. Written as separate calls, a residual block's tail is
//   y = batch_norm(x);  s = y + r;  z = relu(s)
// batch_norm computes its statistics at once and returns y on deferred memory (core/deferred.h); the sum and relu give
// s and z longer recipes. Whoever reads z computes all three in one pass; y and s never exist. A convolution that can
// normalise what it loads takes z's recipe (without a residual), so that z need not exist either.
//
// Each call still records its own node, so hooks, retain_grad and grad() see what they would see. Backward, relu's node
// defers likewise: the gradient of s is a recipe, dz masked by z. The sum hands it on, and batch_norm's backward takes
// the mask into its own two passes; where r wants the gradient too, the first of them writes it.
#pragma once
#include <optional>

#include "autograd/tape.h"
#include "core/deferred.h"
#include "kernels/activation_args.h"
#include "kernels/conv_fused_args.h"
#include "kernels/fused_args.h"

namespace skipway {

// act((x - mean) * scale + shift + residual)
struct NormRecipe : Deferred {
  Tensor x, residual;          // dense channels-last, or (N, C); residual may be undefined
  Tensor coefficients, apply;  // ChannelNormArgs
  FusedAct activation = FusedAct::None;
  bool rounds = false;  // ChannelNormApplyArgs
  void compute(void* to) const override;
};

// Can batch_norm's result wait? x is what it normalises.
bool norm_can_wait(const Tensor& x);
// x's geometry, on deferred memory.
Tensor deferred_norm(const Tensor& x, const Tensor& coefficients, const Tensor& apply, FusedAct activation);
// The recipe of t, if t is all of its memory.
std::shared_ptr<const NormRecipe> norm_recipe(const Tensor& t);
ConvPrologue prologue_of(const NormRecipe& recipe);

// a + b and act(a) as longer recipes, in a's memory where `out` is that; undefined where they cannot be.
Tensor deferred_sum(const Tensor& a, const Tensor& b, const Tensor& out);
Tensor deferred_activation(const Tensor& a, FusedAct act, const Tensor& out);
std::optional<FusedAct> as_fused(Activation f, const ActivationParams& params);

// dz * act'(z)
struct MaskRecipe : Deferred {
  Tensor dz, z;
  FusedAct activation = FusedAct::None;
  Tensor coefficients;  // of the norm that z is act of, when there is no residual between them
  void compute(void* to) const override;
};
Tensor deferred_mask(const Tensor& dz, const Tensor& z, FusedAct act, const Tensor& coefficients);
std::shared_ptr<const MaskRecipe> mask_recipe(const Tensor& g);

}  // namespace skipway

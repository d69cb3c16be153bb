#include "ops/deferred_norm.h"

#include "ops/batch_norm.h"
#include "ops/residual.h"

namespace skipway {
namespace {

size_t bytes_of(const Tensor& t) { return size_t(t.numel() * size_of(t.dtype())); }

bool same_geometry(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.strides() == b.strides() && a.dtype() == b.dtype() && a.device() == b.device();
}

// t is all of its storage.
bool whole(const Tensor& t) { return t.offset() == 0 && t.storage()->bytes == bytes_of(t); }

std::shared_ptr<NormRecipe> longer(const NormRecipe& r) {
  auto copy = std::make_shared<NormRecipe>(r);
  copy->rounds = is_half(r.x.dtype());
  return copy;
}

// `shorter`: like's recipe, which this one has grown out of. Undefined if it no longer is.
Tensor result(const Tensor& like, const std::shared_ptr<const NormRecipe>& shorter,
              std::shared_ptr<const NormRecipe> recipe, const Tensor& out) {
  if (out.defined()) return replace_recipe(out.storage(), shorter, std::move(recipe)) ? out : Tensor();
  const StoragePtr waiting = defer(bytes_of(like), like.device(), std::move(recipe), like.storage(), shorter);
  return waiting ? Tensor(waiting, like.shape(), like.strides(), 0, like.dtype()) : Tensor();
}

}  // namespace

// ---- forward --------------------------------------------------------------------------------------------------------

void NormRecipe::compute(void* to) const {
  const int64_t channels = x.size(1);
  launch(x.device(), channel_norm_apply,
         ChannelNormApplyArgs{x.numel() / channels, channels, x.dtype(), activation, rounds, x.data(),
                              residual.defined() ? residual.data() : nullptr, coefficients.data_as<double>(), to});
}

// Where x is row-major as well as channels-last, the strides of what the calls return depend on which of them it is.
bool norm_can_wait(const Tensor& x) {
  const bool plain = x.dim() <= 2 ? x.strides() == contiguous_strides(x.shape())
                                  : x.strides() == channels_last_strides(x.shape()) && !x.is_contiguous();
  return deferral_enabled() && x.numel() > 0 && plain && recipe_source(x.storage());
}

Tensor deferred_norm(const Tensor& x, const Tensor& coefficients, const Tensor& apply, FusedAct activation) {
  auto recipe = std::make_shared<NormRecipe>();
  recipe->x = x.alias();
  recipe->coefficients = coefficients;
  recipe->apply = apply;
  recipe->activation = activation;
  recipe->sources = {x.storage()};
  return result(x, nullptr, std::move(recipe), {});
}

std::shared_ptr<const NormRecipe> norm_recipe(const Tensor& t) {
  auto recipe = std::dynamic_pointer_cast<const NormRecipe>(pending_recipe(t.storage()));
  return recipe && whole(t) && same_geometry(t, recipe->x) ? recipe : nullptr;
}

ConvPrologue prologue_of(const NormRecipe& recipe) {
  const int64_t channels = recipe.x.size(1);
  const float* mean = recipe.apply.data_as<float>();
  return {mean + channels, mean + 2 * channels, recipe.activation, mean};
}

Tensor deferred_sum(const Tensor& a, const Tensor& b, const Tensor& out) {
  const auto open = [&](const Tensor& t) {
    auto recipe = norm_recipe(t);
    return recipe && !recipe->residual.defined() && recipe->activation == FusedAct::None ? recipe : nullptr;
  };
  if (a.storage() == b.storage() || !same_geometry(a, b)) return {};
  auto recipe = open(a);
  const bool first = recipe != nullptr;
  if (!recipe && !out.defined()) recipe = open(b);
  if (!recipe) return {};
  const Tensor& residual = first ? b : a;
  if (!recipe_source(residual.storage())) return {};
  if (const auto of_residual = norm_recipe(residual); of_residual && of_residual->residual.defined())
    residual.data();  // chains stay short
  auto sum = longer(*recipe);
  sum->residual = residual.alias();
  sum->sources.push_back(residual.storage());
  return result(first ? a : b, recipe, std::move(sum), out);
}

Tensor deferred_activation(const Tensor& a, FusedAct act, const Tensor& out) {
  const auto recipe = norm_recipe(a);
  if (!recipe || recipe->activation != FusedAct::None) return {};
  auto activated = longer(*recipe);
  activated->activation = act;
  return result(a, recipe, std::move(activated), out);
}

std::optional<FusedAct> as_fused(Activation f, const ActivationParams& params) {
  if (f == Activation::Relu) return FusedAct::Relu;
  if (f == Activation::Hardtanh && params.a == 0 && params.b == 6) return FusedAct::Relu6;
  return {};
}

// ---- backward -------------------------------------------------------------------------------------------------------

void MaskRecipe::compute(void* to) const {
  launch(dz.device(), residual_add_backward,
         ResidualAddGradArgs{dz.numel(), dz.dtype(), activation, 1, dz.data(), z.data(), Grad{to, GradMode::Write},
                             Grad{}});
}

Tensor deferred_mask(const Tensor& grad, const Tensor& z, FusedAct act, const Tensor& coefficients) {
  auto recipe = std::make_shared<MaskRecipe>();
  recipe->dz = in_layout_of(grad, z).alias();
  recipe->z = z;
  recipe->activation = act;
  recipe->coefficients = coefficients;
  recipe->sources = {recipe->dz.storage(), z.storage()};
  const Tensor& dz = recipe->dz;
  dz.data();  // one mask at a time
  Tensor masked(defer(bytes_of(dz), dz.device(), recipe), dz.shape(), dz.strides(), 0, dz.dtype());
  if (!recipe_source(dz.storage()) || !recipe_source(z.storage())) masked.data();
  return masked;
}

std::shared_ptr<const MaskRecipe> mask_recipe(const Tensor& g) {
  auto recipe = std::dynamic_pointer_cast<const MaskRecipe>(pending_recipe(g.storage()));
  return recipe && whole(g) && same_geometry(g, recipe->dz) ? recipe : nullptr;
}

}  // namespace skipway

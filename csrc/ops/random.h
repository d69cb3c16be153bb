// Random tensors. Every value is a function of (seed, op, logical index of the element): the same bits for any memory
// layout, number of threads and instruction set. See core/rng.h for the bits.
//   uniform      from + u (to - from), u in [0, 1)
//   normal       mean + std z, with z = r cos a or r sin a, r = sqrt(-2 log u1), a = 2 pi u2   (Box and Muller 1958)
//   exponential  -log(u) / rate, u in (0, 1]
//   trunc_normal mean + std z, z normal given low <= mean + std z <= high, by rejection (Robert 1995, "Simulation of
//                truncated normal variables")
#pragma once
#include "core/generator.h"
#include "kernels/dispatch.h"

namespace skipway {

// A null generator is the default one. Fills are in place, return x, and are not differentiable.
Tensor uniform_(const Tensor& x, double from, double to, const GeneratorPtr& generator);
Tensor normal_(const Tensor& x, double mean, double std, const GeneratorPtr& generator);
Tensor exponential_(const Tensor& x, double rate, const GeneratorPtr& generator);
Tensor trunc_normal_(const Tensor& x, double mean, double std, double low, double high, const GeneratorPtr& generator);
Tensor bernoulli_(const Tensor& x, double p, const GeneratorPtr& generator);
Tensor bernoulli_(const Tensor& x, const Tensor& p, const GeneratorPtr& generator);
// Integers in [low, high). random_full: all integers that x's dtype represents exactly, from 0.
Tensor random_(const Tensor& x, int64_t low, int64_t high, const GeneratorPtr& generator);
Tensor random_full_(const Tensor& x, const GeneratorPtr& generator);

Tensor bernoulli(const Tensor& p, const GeneratorPtr& generator);
Tensor normal(const Tensor& mean, const Tensor& std, const GeneratorPtr& generator);
Tensor randperm(int64_t n, DType dtype, const GeneratorPtr& generator);
// Rows of non-negative weights (1-D: one row) to int64 indices drawn by weight.
Tensor multinomial(const Tensor& weights, int64_t num_samples, bool replacement, const GeneratorPtr& generator);

enum class Distribution : uint8_t { Uniform, Normal, Exponential };
struct RandomFillArgs {
  Distribution distribution;
  DType dtype;  // floating
  RngKey key;
  void* out;
  int64_t n;
  double a, b;     // from, to - from; mean, std; rate
  double ceiling;  // uniform: the largest value below `to`
};
// What a truncated normal's draws are made of: a standard normal z given a <= z <= b, from uniforms u1 and u2, redrawn
// until accepted. Three proposals (Robert 1995), each accepted with a probability above 1/4 where it is used:
//   Normal, a wide window around 0:  z = Box-Muller,         accept in [a, b]
//   Uniform, a narrow one:           z = a + (b - a) u1,     accept if 2 log u2 <= nearest^2 - z^2, nearest to 0 in [a,
//   b] Tail, a > 0:                     z = a - log(u1) / k,    accept if 2 log u2 <= -(z - k)^2 and z <= b
// with k = (a + sqrt(a^2 + 4)) / 2. A lower tail is a mirrored upper one: sign is -1.
enum class Proposal : int { Normal, Uniform, Tail };
struct TruncationWindow {
  Proposal proposal;
  double a, b, nearest, k, sign;
};
struct TruncNormalArgs {
  DType dtype;
  RngKey key;
  void* out;
  int64_t n;
  double mean, std, low, high;
  TruncationWindow window;
};
struct RandomIntegerArgs {
  DType dtype;  // any
  RngKey key;
  void* out;
  int64_t n, low;
  uint64_t range;  // 0: 2^64
};
struct BernoulliArgs {
  DType dtype;  // any
  RngKey key;
  void* out;
  int64_t n;
  double p;
  const double* probabilities;  // one for each element, or null: p
};
SW_DECLARE_KERNEL(random_fill, RandomFillArgs)
SW_DECLARE_KERNEL(trunc_normal_fill, TruncNormalArgs)
SW_DECLARE_KERNEL(random_integers, RandomIntegerArgs)
SW_DECLARE_KERNEL(bernoulli_fill, BernoulliArgs)

}  // namespace skipway

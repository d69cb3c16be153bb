#include "ops/activation.h"

#include "kernels/activations.h"

namespace skipway {
namespace SW_ISA {

namespace {

// Of the usual activations, bfloat16 is worked on in place; of the others, in converted chunks.
bool usual(Activation f) {
  return f == Activation::Relu || f == Activation::LeakyRelu || f == Activation::Hardtanh || f == Activation::Gelu ||
         f == Activation::GeluTanh || f == Activation::Silu;
}

template <class T, class F>
SW_INLINE void with_function(Activation f, const ActivationParams& params, const F& run) {
  using A = typename Lanes<T>::scalar;
  if constexpr (dtype_of<T> == DType::BFloat16) {
    switch (f) {
      case Activation::LeakyRelu:
        return run(LeakyReluOf<T>{A(params.a)});
      case Activation::Hardtanh:
        return run(HardtanhOf<T>{A(params.a), A(params.b)});
      case Activation::Gelu:
        return run(GeluOf<T>{});
      case Activation::GeluTanh:
        return run(GeluTanhOf<T>{});
      case Activation::Silu:
        return run(SiluOf<T>{});
      default:
        return run(ReluOf<T>{});
    }
  } else {
    with_activation<T>(f, params, run);
  }
}

template <class T>
void value_run(const ActivationArgs& a, T* y, const T* const (&in)[1], int64_t n) {
  using V = typename Lanes<T>::vec;
  with_function<T>(a.f, a.params,
                   [&](const auto& f) { map_wide<T, 1>(y, in, n, [&](V x) -> V { return f.value(x); }); });
}

template <class T>
void grad_run(const ActivationGradArgs& a, T* dx, const T* const (&in)[2], int64_t n) {
  using V = typename Lanes<T>::vec;
  with_function<T>(a.f, a.params,
                   [&](const auto& f) { map_wide<T, 2>(dx, in, n, [&](V g, V s) -> V { return f.grad(g, s); }); });
}

// dx += f'(x) dy, a chunk at a time.
template <class T>
void grad_add(const ActivationGradArgs& a, T* out, const T* const (&in)[3], int64_t n) {
  using V = typename Lanes<T>::vec;
  alignas(64) T part[kChunk];
  for (int64_t i = 0; i < n; i += kChunk) {
    const int64_t count = n - i < kChunk ? n - i : kChunk;
    const T* const from[2] = {in[0] + i, in[1] + i};
    grad_run<T>(a, part, from, count);
    const T* const terms[2] = {in[2] + i, part};
    map_wide<T, 2>(out + i, terms, count, [](V x, V y) -> V { return x + y; });
  }
}

}  // namespace

void activation_forward(const ActivationArgs& a) {
  if (usual(a.f) && all_bfloat16<1>(a.y, {&a.x})) {
    return run_elementwise<bfloat16, 1>(
        a.numel, a.y, {&a.x},
        [&](bfloat16* y, const bfloat16* const(&in)[1], int64_t n) { value_run<bfloat16>(a, y, in, n); });
  }
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    if constexpr (is_floating(dtype_of<T>)) {
      run_elementwise<T, 1>(a.numel, a.y, {&a.x},
                            [&](T* y, const T* const(&in)[1], int64_t n) { value_run<T>(a, y, in, n); });
    }
  });
}

void activation_backward(const ActivationGradArgs& a) {
  if (usual(a.f) && a.mode != GradMode::Add && all_bfloat16<2>(a.dx, {&a.dy, &a.saved})) {
    return run_elementwise<bfloat16, 2>(
        a.numel, a.dx, {&a.dy, &a.saved},
        [&](bfloat16* o, const bfloat16* const(&in)[2], int64_t n) { grad_run<bfloat16>(a, o, in, n); });
  }
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    if constexpr (is_floating(dtype_of<T>)) {
      if (a.mode == GradMode::Add) {
        run_elementwise<T, 3>(a.numel, a.dx, {&a.dy, &a.saved, &a.dx},
                              [&](T* o, const T* const(&in)[3], int64_t n) { grad_add<T>(a, o, in, n); });
      } else {
        run_elementwise<T, 2>(a.numel, a.dx, {&a.dy, &a.saved},
                              [&](T* o, const T* const(&in)[2], int64_t n) { grad_run<T>(a, o, in, n); });
      }
    }
  });
}

void activation_prelu(const PreluArgs& a) {
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    if constexpr (is_floating(dtype_of<T>)) {
      using V = typename Lanes<T>::vec;
      run_elementwise<T, 3>(a.numel, a.out, {&a.g, &a.x, &a.w}, [&](T* o, const T* const(&in)[3], int64_t n) {
        switch (a.pass) {
          case PreluPass::Forward:
            return map_wide<T, 3>(o, in, n, [](V, V x, V w) -> V { return x > 0 ? x : x * w; });
          case PreluPass::GradInput:
            return map_wide<T, 3>(o, in, n, [](V g, V x, V w) -> V { return x > 0 ? g : g * w; });
          case PreluPass::GradWeight:
            return map_wide<T, 3>(o, in, n, [](V g, V x, V) -> V { return x > 0 ? V{} : g * x; });
        }
      });
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway

#include "ops/activation.h"

#include "kernels/activations.h"

namespace skipway {
namespace SW_ISA {

void activation_forward(const ActivationArgs& a) {
  dispatch_compute(a.compute, [&]<class T>(Type<T>) {
    if constexpr (is_floating(dtype_of<T>)) {
      using V = typename Lanes<T>::vec;
      run_elementwise<T, 1>(a.numel, a.y, {&a.x}, [&](T* y, const T* const(&in)[1], int64_t n) {
        with_activation<T>(a.f, a.params,
                           [&](const auto& f) { map_wide<T, 1>(y, in, n, [&](V x) -> V { return f.value(x); }); });
      });
    }
  });
}

namespace {

template <class T>
void grad_run(const ActivationGradArgs& a, T* dx, const T* const (&in)[2], int64_t n) {
  using V = typename Lanes<T>::vec;
  with_activation<T>(a.f, a.params,
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

void activation_backward(const ActivationGradArgs& a) {
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

// The coefficients of exact_math.h's polynomials, for kernels of any device.
#pragma once

namespace skipway {

// log: of atanh(s) / s in s^2; sin: of sin(t) / t in t^2; cos: of cos(t) in t^2.
template <class T>
struct ExactSeries;
template <>
struct ExactSeries<float> {
  float log[6] = {1.f, 1.f / 3, 1.f / 5, 1.f / 7, 1.f / 9, 1.f / 11};
  float sin[5] = {1.f, -1.f / 6, 1.f / 120, -1.f / 5040, 1.f / 362880};
  float cos[6] = {1.f, -1.f / 2, 1.f / 24, -1.f / 720, 1.f / 40320, -1.f / 3628800};
};
template <>
struct ExactSeries<double> {
  double log[12] = {1., 1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19, 1. / 21, 1. / 23};
  double sin[9] = {1.,
                   -1. / 6,
                   1. / 120,
                   -1. / 5040,
                   1. / 362880,
                   -1. / 39916800,
                   1. / 6227020800,
                   -1. / 1307674368000,
                   1. / 355687428096000};
  double cos[10] = {1.,
                    -1. / 2,
                    1. / 24,
                    -1. / 720,
                    1. / 40320,
                    -1. / 3628800,
                    1. / 479001600,
                    -1. / 87178291200,
                    1. / 20922789888000,
                    -1. / 6402373705728000};
};

}  // namespace skipway

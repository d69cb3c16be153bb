#include "ops/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/iterator.h"

namespace skipway {
namespace {

RngKey next_key(const GeneratorPtr& generator, Device device) {
  return (generator ? generator : default_generator())->next(device);
}

// Runs launch_fill(memory) on row-major memory and puts the result into x.
template <class F>
Tensor fill(const char* op, const Tensor& x, const F& launch_fill) {
  tape::begin_inplace(op, x);
  const Tensor target = x.is_contiguous() ? x.alias() : empty(x.shape(), x.dtype(), x.device());
  launch_fill(target);
  if (!x.is_contiguous()) copy_into(x, target);
  tape::finish_inplace(x, target);
  return x;
}

TruncationWindow plan_window(double a, double b) {
  TruncationWindow w{Proposal::Normal, a, b, 0, 0, 1};
  if (b < 0) {
    w.a = -b;
    w.b = -a;
    w.sign = -1;
  }
  if (w.a <= 0) {
    if (w.b - w.a < 2.5066282746310002) w.proposal = Proposal::Uniform;
    return w;
  }
  w.nearest = w.a;
  w.k = (w.a + std::sqrt(w.a * w.a + 4)) / 2;
  w.proposal = w.b - w.a < 1 / w.k ? Proposal::Uniform : Proposal::Tail;
  return w;
}

void check_finite(const char* op, const char* arg, double value) {
  SW_CHECK_VALUE(std::isfinite(value), op, ": expected a finite ", arg, ", got ", value);
}

// The largest value of a type of 16 bits (or of any dtype) below x.
template <class Half>
double half_below(double x) {
  Half below{float(x)};
  const float f = float(below);
  if (double(f) < x) return double(f);
  below.bits = uint16_t(f > 0 ? below.bits - 1 : f == 0 ? 0x8001 : below.bits + 1);
  return double(float(below));
}
double value_below(double x, DType dtype) {
  if (dtype == DType::Float64) return std::nextafter(x, -INFINITY);
  if (dtype == DType::BFloat16) return half_below<bfloat16>(x);
  if (dtype == DType::Float16) return half_below<float16>(x);
  const float f = float(x);
  return double(f) < x ? double(f) : double(std::nextafterf(f, -INFINITY));
}

// How many integers from 0 on a dtype represents exactly; 0 stands for 2^64.
uint64_t full_range(DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return 2;
    case DType::UInt8:
      return 256;
    case DType::Int32:
      return 1ull << 31;
    case DType::Int64:
      return 1ull << 63;
    case DType::BFloat16:
      return (1ull << 8) + 1;
    case DType::Float16:
      return (1ull << 11) + 1;
    case DType::Float32:
      return (1ull << 24) + 1;
    default:
      return (1ull << 53) + 1;
  }
}
int64_t lowest_integer(DType dtype) {
  if (dtype == DType::Bool || dtype == DType::UInt8) return 0;
  if (dtype == DType::Int32) return INT32_MIN;
  return is_floating(dtype) ? -int64_t(full_range(dtype) - 1) : INT64_MIN;
}

// As float64, on p's device. Looking at them waits for it.
Tensor probabilities_of(const char* op, const Tensor& p) {
  check_floating(op, "p", p);
  const Tensor q = contiguous(to(p, DType::Float64)), host = on_cpu(q);
  const double* values = host.data_as<double>();
  for (int64_t i = 0; i < q.numel(); ++i) {
    SW_CHECK_VALUE(values[i] >= 0 && values[i] <= 1, op, ": expected probabilities in [0, 1], got ", values[i]);
  }
  return q;
}

}  // namespace

Tensor uniform_(const Tensor& x, double from, double to, const GeneratorPtr& generator) {
  check_floating("uniform_", "input", x);
  check_finite("uniform_", "from", from);
  check_finite("uniform_", "to", to);
  SW_CHECK_VALUE(from <= to, "uniform_: expected from <= to, got from=", from, " and to=", to);
  SW_CHECK_VALUE(std::isfinite(to - from) && (x.dtype() == DType::Float64 || to - from <= 3.4e38),
                 "uniform_: to - from is beyond the range of ", x.dtype(), ": from=", from, ", to=", to);
  const RngKey key = next_key(generator, x.device());
  const double ceiling = from == to ? to : std::max(value_below(to, x.dtype()), from);
  return fill("uniform_", x, [&](const Tensor& out) {
    launch(x.device(), random_fill,
           {Distribution::Uniform, x.dtype(), key, out.data(), x.numel(), from, to - from, ceiling});
  });
}

Tensor normal_(const Tensor& x, double mean, double std, const GeneratorPtr& generator) {
  check_floating("normal_", "input", x);
  SW_CHECK_VALUE(std >= 0, "normal_: expected std >= 0, got ", std);
  const RngKey key = next_key(generator, x.device());
  return fill("normal_", x, [&](const Tensor& out) {
    launch(x.device(), random_fill, {Distribution::Normal, x.dtype(), key, out.data(), x.numel(), mean, std, 0});
  });
}

Tensor exponential_(const Tensor& x, double rate, const GeneratorPtr& generator) {
  check_floating("exponential_", "input", x);
  SW_CHECK_VALUE(rate > 0, "exponential_: expected lambd > 0, got ", rate);
  const RngKey key = next_key(generator, x.device());
  return fill("exponential_", x, [&](const Tensor& out) {
    launch(x.device(), random_fill, {Distribution::Exponential, x.dtype(), key, out.data(), x.numel(), rate, 0, 0});
  });
}

Tensor trunc_normal_(const Tensor& x, double mean, double std, double low, double high, const GeneratorPtr& generator) {
  check_floating("trunc_normal_", "tensor", x);
  check_finite("trunc_normal_", "mean", mean);
  SW_CHECK_VALUE(std > 0 && std::isfinite(std), "trunc_normal_: expected a finite std > 0, got ", std);
  SW_CHECK_VALUE(low <= high, "trunc_normal_: expected a <= b, got a=", low, " and b=", high);
  const RngKey key = next_key(generator, x.device());
  const TruncationWindow window = plan_window((low - mean) / std, (high - mean) / std);
  return fill("trunc_normal_", x, [&](const Tensor& out) {
    launch(x.device(), trunc_normal_fill, {x.dtype(), key, out.data(), x.numel(), mean, std, low, high, window});
  });
}

Tensor bernoulli_(const Tensor& x, double p, const GeneratorPtr& generator) {
  SW_CHECK_VALUE(p >= 0 && p <= 1, "bernoulli_: expected a probability in [0, 1], got ", p);
  const RngKey key = next_key(generator, x.device());
  return fill("bernoulli_", x, [&](const Tensor& out) {
    launch(x.device(), bernoulli_fill, {x.dtype(), key, out.data(), x.numel(), p, nullptr});
  });
}

Tensor bernoulli_(const Tensor& x, const Tensor& p, const GeneratorPtr& generator) {
  check_defined("bernoulli_", "input", x);
  check_defined("bernoulli_", "p", p);
  SW_CHECK_AS(DeviceError, output_device("bernoulli_", {x, p}) == x.device(), "bernoulli_: expected p on ", x.device(),
              " as input, got p on ", p.device());
  const Tensor q = probabilities_of("bernoulli_", p);
  Tensor expanded = empty(x.shape(), DType::Float64, x.device());
  copy_into(expanded, q);
  const RngKey key = next_key(generator, x.device());
  return fill("bernoulli_", x, [&](const Tensor& out) {
    launch(x.device(), bernoulli_fill, {x.dtype(), key, out.data(), x.numel(), 0, expanded.data_as<double>()});
  });
}

Tensor bernoulli(const Tensor& p, const GeneratorPtr& generator) {
  check_floating("bernoulli", "input", p);
  const tape::NoGradGuard guard;
  return bernoulli_(empty_like(p), p, generator);
}

Tensor random_(const Tensor& x, int64_t low, int64_t high, const GeneratorPtr& generator) {
  check_defined("random_", "input", x);
  SW_CHECK_VALUE(low < high, "random_: expected from < to, got from=", low, " and to=", high);
  const int64_t first = lowest_integer(x.dtype()), last = int64_t(full_range(x.dtype()) - 1);
  SW_CHECK_VALUE(low >= first && high - 1 <= last, "random_: integers in [", low, ", ", high, ") do not fit ",
                 x.dtype());
  const RngKey key = next_key(generator, x.device());
  return fill("random_", x, [&](const Tensor& out) {
    launch(x.device(), random_integers, {x.dtype(), key, out.data(), x.numel(), low, uint64_t(high) - uint64_t(low)});
  });
}

Tensor random_full_(const Tensor& x, const GeneratorPtr& generator) {
  check_defined("random_", "input", x);
  const RngKey key = next_key(generator, x.device());
  return fill("random_", x, [&](const Tensor& out) {
    launch(x.device(), random_integers, {x.dtype(), key, out.data(), x.numel(), 0, full_range(x.dtype())});
  });
}

// Fisher and Yates's shuffle; step i draws from [0, i].
Tensor randperm(int64_t n, DType dtype, const GeneratorPtr& generator) {
  SW_CHECK_VALUE(n >= 0, "randperm: expected n >= 0, got ", n);
  SW_CHECK_VALUE(n == 0 || uint64_t(n - 1) < full_range(dtype), "randperm: ", n, " values do not fit ", dtype);
  const RngKey key = next_key(generator, {});
  Tensor order = empty({n}, DType::Int64), draws = empty({n}, DType::Int64);
  launch(order.device(), random_integers, {DType::Int64, key, draws.data(), n, 0, 0});
  int64_t* p = order.data_as<int64_t>();
  std::iota(p, p + n, int64_t(0));
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(p[i], p[scale_to_range(uint64_t(draws.data_as<int64_t>()[i]), uint64_t(i) + 1)]);
  }
  return to(order, dtype);
}

namespace {

// With replacement: the first index whose cumulated weight exceeds a uniform draw.
void draw_with_replacement(const double* w, int64_t n, double total, int64_t samples, RngKey key, int64_t row,
                           int64_t* out) {
  std::vector<double> cumulated(size_t(n), 0);
  std::partial_sum(w, w + n, cumulated.begin());
  int64_t last = n - 1;
  while (w[last] == 0) --last;
  for (int64_t i = 0; i < samples; ++i) {
    const double u = uniform_double(random_u64(key, uint64_t(row * samples + i))) * total;
    out[i] = std::min(last, int64_t(std::upper_bound(cumulated.begin(), cumulated.end(), u) - cumulated.begin()));
  }
}

// Without: the smallest of exponential draws divided by the weights (Efraimidis and Spirakis 2006).
void draw_without_replacement(const double* w, const double* draws, int64_t n, int64_t samples, int64_t* out) {
  std::vector<std::pair<double, int64_t>> keys;
  for (int64_t i = 0; i < n; ++i) {
    if (w[i] > 0) keys.emplace_back(draws[i] / w[i], i);
  }
  std::partial_sort(keys.begin(), keys.begin() + samples, keys.end());
  for (int64_t i = 0; i < samples; ++i) out[i] = keys[size_t(i)].second;
}

}  // namespace

Tensor multinomial(const Tensor& weights, int64_t num_samples, bool replacement, const GeneratorPtr& generator) {
  check_floating("multinomial", "input", weights);
  SW_CHECK_SHAPE(weights.dim() == 1 || weights.dim() == 2, "multinomial: expected 1 or 2 dimensions, got ",
                 weights.shape());
  SW_CHECK_VALUE(num_samples > 0, "multinomial: expected num_samples > 0, got ", num_samples);
  const int64_t rows = weights.dim() == 1 ? 1 : weights.size(0), n = weights.size(-1);
  const tape::NoGradGuard guard;
  const Tensor w = on_cpu(to(weights, DType::Float64));  // the draws are made on the host
  const RngKey key = next_key(generator, {});
  Tensor draws;
  if (!replacement) {
    draws = empty(w.shape(), DType::Float64);
    launch(draws.device(), random_fill,
           {Distribution::Exponential, DType::Float64, key, draws.data(), draws.numel(), 1, 0, 0});
  }
  Tensor out = empty(weights.dim() == 1 ? Shape{num_samples} : Shape{rows, num_samples}, DType::Int64);
  for (int64_t row = 0; row < rows; ++row) {
    const double* p = w.data_as<double>() + row * n;
    int64_t* to = out.data_as<int64_t>() + row * num_samples;
    double total = 0;
    int64_t positive = 0;
    for (int64_t i = 0; i < n; ++i) {
      SW_CHECK_VALUE(p[i] >= 0 && std::isfinite(p[i]), "multinomial: expected finite weights >= 0, got ", p[i]);
      total += p[i];
      positive += p[i] > 0;
    }
    SW_CHECK_VALUE(positive > 0 && std::isfinite(total), "multinomial: the weights of row ", row, " sum to ", total);
    if (replacement) {
      draw_with_replacement(p, n, total, num_samples, key, row, to);
      continue;
    }
    SW_CHECK_VALUE(num_samples <= positive, "multinomial: cannot draw ", num_samples,
                   " samples without replacement from ", positive, " indices of positive weight");
    draw_without_replacement(p, draws.data_as<double>() + row * n, n, num_samples, to);
  }
  return skipway::to(out, weights.device());
}

Tensor normal(const Tensor& mean, const Tensor& std, const GeneratorPtr& generator) {
  check_defined("normal", "mean", mean);
  check_defined("normal", "std", std);
  const tape::NoGradGuard guard;
  DType dtype = mean.weak() ? std.dtype() : std.weak() ? mean.dtype() : promote(mean.dtype(), std.dtype());
  if (!is_floating(dtype)) dtype = DType::Float32;
  const Shape shape = broadcast_shapes(mean.shape(), std.shape(), "normal");
  const Device device = output_device("normal", {mean, std});
  Tensor z = empty(shape, DType::Float64), m = empty_like(z), s = empty_like(z);  // on the host
  normal_(z, 0, 1, generator);
  copy_into(m, mean);
  copy_into(s, std);
  double* out = z.data_as<double>();
  for (int64_t i = 0; i < z.numel(); ++i) {
    const double deviation = s.data_as<double>()[i];
    SW_CHECK_VALUE(!(deviation < 0), "normal: expected std >= 0, got ", deviation);
    out[i] = m.data_as<double>()[i] + deviation * out[i];
  }
  return to(to(z, dtype), device);
}

}  // namespace skipway

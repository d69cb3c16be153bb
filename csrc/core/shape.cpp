#include "core/shape.h"

#include "core/check.h"

namespace skipway {

Shape::Shape(const int64_t* dims, int n) : n_(n) {
  SW_CHECK_SHAPE(n <= kMaxDims, "expected at most ", kMaxDims, " dimensions, got ", n);
  for (int i = 0; i < n; ++i) d_[i] = dims[i];
}

Shape Shape::filled(int n, int64_t value) {
  Shape s;
  for (int i = 0; i < n; ++i) s.push_back(value);
  return s;
}

void Shape::push_back(int64_t v) { insert(n_, v); }

void Shape::insert(int at, int64_t v) {
  SW_CHECK_SHAPE(n_ < kMaxDims, "expected at most ", kMaxDims, " dimensions, got ", n_ + 1);
  for (int i = n_; i > at; --i) d_[i] = d_[i - 1];
  d_[at] = v;
  ++n_;
}

void Shape::erase(int at) {
  for (int i = at; i + 1 < n_; ++i) d_[i] = d_[i + 1];
  --n_;
}

bool Shape::ends_with(const Shape& tail) const {
  if (tail.n_ > n_) return false;
  for (int i = 0; i < tail.n_; ++i)
    if (d_[n_ - tail.n_ + i] != tail.d_[i]) return false;
  return true;
}

bool Shape::operator==(const Shape& o) const { return n_ == o.n_ && ends_with(o); }

std::string Shape::str() const {
  std::string s = "(";
  for (int i = 0; i < n_; ++i) s += (i ? ", " : "") + std::to_string(d_[i]);
  return s + (n_ == 1 ? ",)" : ")");
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i] > 0 ? shape[i] : 1;
  }
  return strides;
}

Shape channels_last_strides(const Shape& shape) {
  SW_CHECK_SHAPE(shape.size() >= 3, "channels_last: expected at least 3 dimensions, got ", shape);
  Shape strides = shape;
  int64_t step = 1;
  const auto place = [&](int i) {
    strides[i] = step;
    step *= shape[i] > 0 ? shape[i] : 1;
  };
  place(1);
  for (int i = shape.size() - 1; i >= 2; --i) place(i);
  place(0);
  return strides;
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  const int lead = longer.size() - shorter.size();
  for (int i = 0; i < shorter.size(); ++i) {
    int64_t& d = out[lead + i];
    const int64_t s = shorter[i];
    SW_CHECK_SHAPE(d == s || d == 1 || s == 1, op, ": shapes ", a, " and ", b, " do not broadcast: sizes ", d, " and ",
                   s, " differ in dimension ", lead + i);
    if (d == 1) d = s;
  }
  return out;
}

int normalize_dim(int64_t dim, int ndim, const char* op) {
  const int range = ndim > 0 ? ndim : 1;  // a 0-dim tensor takes 0 and -1
  SW_CHECK_INDEX(dim >= -range && dim < range, op, ": dim ", dim, " is out of range for ", ndim,
                 " dimensions (expected ", -range, " to ", range - 1, ")");
  return int(dim < 0 ? dim + range : dim);
}

}  // namespace skipway

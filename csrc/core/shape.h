// Shape: up to kMaxDims signed sizes (or strides, in elements), stored in place.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>

namespace skipway {

inline constexpr int kMaxDims = 8;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), int(dims.size())) {}
  Shape(const int64_t* dims, int n);  // throws ShapeError when n > kMaxDims
  static Shape filled(int n, int64_t value);

  int size() const { return n_; }
  bool empty() const { return n_ == 0; }
  int64_t operator[](int i) const { return d_[i]; }
  int64_t& operator[](int i) { return d_[i]; }
  const int64_t* begin() const { return d_; }
  const int64_t* end() const { return d_ + n_; }
  int64_t* begin() { return d_; }
  int64_t* end() { return d_ + n_; }
  const int64_t* data() const { return d_; }
  int64_t back() const { return d_[n_ - 1]; }
  void push_back(int64_t v);  // throws ShapeError when full
  void insert(int at, int64_t v);
  void erase(int at);
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : *this) n *= d;
    return n;
  }
  bool ends_with(const Shape& tail) const;
  bool operator==(const Shape& o) const;
  std::string str() const;  // "(2, 3)", "(2,)", "()"

 private:
  int64_t d_[kMaxDims] = {};
  int n_ = 0;
};

Shape contiguous_strides(const Shape& shape);                            // row-major
Shape channels_last_strides(const Shape& shape);                         // (N, C, spatial...) with C fastest; ndim >= 3
Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);  // throws ShapeError that names the op
int normalize_dim(int64_t dim, int ndim, const char* op);                // -1 -> ndim - 1; throws IndexError

}  // namespace skipway

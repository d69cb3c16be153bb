// Tensor: a handle to a strided view of storage. Copying the handle shares the view.
#pragma once
#include <memory>

#include "core/check.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/storage.h"

namespace skipway {

namespace tape {
struct AutogradMeta;  // autograd/tape.h
}

struct TensorImpl {
  StoragePtr storage;
  Shape shape, strides;  // strides in elements, none negative
  int64_t offset = 0;    // in elements
  DType dtype = DType::Float32;
  bool requires_grad = false;  // true for leaves that ask for it and for results that depend on one
  bool weak = false;           // a Python number: takes part in type promotion by its kind only
  std::shared_ptr<tape::AutogradMeta> autograd;
  void* python = nullptr;  // the live Python wrapper, not owned; guarded by the GIL
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}
  Tensor(StoragePtr storage, const Shape& shape, const Shape& strides, int64_t offset, DType dtype);

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const { return impl_->shape; }
  const Shape& strides() const { return impl_->strides; }
  int dim() const { return impl_->shape.size(); }
  int64_t size(int64_t d) const;  // negative counts from the end; throws IndexError
  int64_t numel() const { return impl_->shape.numel(); }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->storage->device; }
  int64_t offset() const { return impl_->offset; }
  const StoragePtr& storage() const { return impl_->storage; }
  uint64_t version() const { return impl_->storage->version; }
  bool requires_grad() const { return impl_->requires_grad; }
  bool weak() const { return impl_->weak; }
  TensorImpl* impl() const { return impl_.get(); }
  const std::shared_ptr<TensorImpl>& ptr() const { return impl_; }

  void* data() const {  // of the first element
    return static_cast<char*>(impl_->storage->address()) + impl_->offset * size_of(impl_->dtype);
  }
  template <class T>
  T* data_as() const {
    return static_cast<T*>(data());
  }

  bool is_contiguous() const;     // dense, row-major
  bool is_channels_last() const;  // dense, (N, spatial..., C) in memory; ndim >= 3
  bool is_dense() const;          // some permutation of the dimensions is dense row-major, no overlap

  // The same memory seen otherwise; no tape.
  Tensor alias() const;  // a new handle, same view, without autograd state
  Tensor as_strided(const Shape& shape, const Shape& strides, int64_t offset) const;

 private:
  std::shared_ptr<TensorImpl> impl_;
};

// Not initialised.
Tensor empty(const Shape& shape, DType dtype, Device device = {});
Tensor empty_strided(const Shape& shape, const Shape& strides, DType dtype, Device device = {});  // strides: dense
Tensor empty_channels_last(const Shape& shape, DType dtype, Device device = {});                  // ndim >= 3
Tensor empty_like(const Tensor& t);  // same memory layout where t is dense, else row-major
Tensor empty_like(const Tensor& t, DType dtype);
Tensor zeros(const Shape& shape, DType dtype, Device device = {});
Tensor zeros_like(const Tensor& t);

// Checks shared by ops. Each throws an error that begins with the op's name.
void check_defined(const char* op, const char* arg, const Tensor& t);
void check_floating(const char* op, const char* arg, const Tensor& t);
void check_same(const char* op, const char* arg_a, const Tensor& a, const char* arg_b,
                const Tensor& b);  // dtype, device

inline std::ostream& operator<<(std::ostream& s, const Device& d) { return s << d.str(); }

}  // namespace skipway

// What the elementwise_*.cpp files share.
#pragma once
#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/iterator.h"
#include "ops/reduce.h"

namespace skipway::elementwise {

// Runs a kernel into `out`, or into a new tensor where `out` is undefined. `common`: the dtype that decides how to
// compute.
Tensor run_unary(const char* name, UnaryOp op, const Tensor& x, DType common, DType result, const Tensor& out = {});
Tensor run_binary(const char* name, BinaryOp op, const Tensor& a, const Tensor& b, DType common, DType result,
                  const Tensor& out = {}, double alpha = 1);
Tensor run_ternary(const char* name, TernaryOp op, const Tensor& a, const Tensor& b, const Tensor& c, DType common,
                   const Tensor& out = {}, double value = 1);

inline DType float_type(DType d) { return is_floating(d) ? d : DType::Float32; }

// The gradient of an operand from one of the result's shape: summed where broadcast, in the operand's dtype, on its
// device (a 0-dim tensor on the CPU goes with operands on any).
struct Operand {
  Shape shape;
  DType dtype = DType::Float32;
  Device device;
  explicit Operand(const Tensor& t) : shape(t.shape()), dtype(t.dtype()), device(t.device()) {}
  // The dtype of what reduce() is given, for the gradient g of the result: terms of a sum are not rounded to bfloat16.
  DType terms(const Tensor& g) const { return g.shape() == shape ? g.dtype() : accumulate_dtype(g.dtype()); }
  Tensor reduce(const Tensor& g) const { return to(to(sum_to(g, shape), dtype), device); }
  Tensor reduce(const Tensor& g, double factor) const;  // factor * reduce(g), rounded once
};

// What a node saves of operand t: nothing unless needed; a copy where `out` is about to overwrite it.
Tensor keep(const Tensor& t, bool needed, const Tensor& out);

// x = f(x, ...) in place. `f(out)` writes into `out`, a plain handle on x's memory, and records what it did.
// `result` is the dtype that the op would have out of place.
template <class F>
Tensor in_place(const char* name, const Tensor& x, DType result, const F& f);

void check_castable(const char* name, const Tensor& x, DType result);
void finish(const Tensor& x, const Tensor& out);

template <class F>
Tensor in_place(const char* name, const Tensor& x, DType result, const F& f) {
  tape::begin_inplace(name, x);
  check_castable(name, x, result);
  const Tensor out = x.alias();
  f(out);
  finish(x, out);
  return x;
}

// The recorded ops, into `out` where it is defined.
Tensor add_into(const char* name, const Tensor& a, const Tensor& b, double alpha, const Tensor& out);
Tensor sub_into(const char* name, const Tensor& a, const Tensor& b, double alpha, const Tensor& out);
Tensor mul_into(const char* name, const Tensor& a, const Tensor& b, const Tensor& out);
Tensor div_into(const char* name, const Tensor& a, const Tensor& b, const Tensor& out);
Tensor unary_into(UnaryOp op, const Tensor& x, const Tensor& out);
Tensor clamp_into(const Tensor& x, const Tensor& lo, const Tensor& hi, const Tensor& out);
Tensor lerp_into(const Tensor& start, const Tensor& end, const Tensor& weight, const Tensor& out);
Tensor addc_into(TernaryOp op, const Tensor& x, const Tensor& a, const Tensor& b, double value, const Tensor& out);
Tensor masked_fill_into(const Tensor& x, const Tensor& mask, const Tensor& value, const Tensor& out);

}  // namespace skipway::elementwise

// Cross entropy of logits x against a class t, or against class probabilities q, with class weights w and label
// smoothing e over C classes; z_c = log(sum(exp(x))) - x_c are the negative log-probabilities of a row:
//   class index:    loss = (1 - e) * w_t * z_t + e / C * sum_c(w_c * z_c)         (Szegedy et al. 2016)
//   probabilities:  loss = sum_c(w_c * ((1 - e) * q_c + e / C) * z_c)
// "mean" divides by the sum of w_t over the rows that are not ignored (index), or by the number of rows
// (probabilities). Backward, with p = softmax(x) and a row's coefficients k_c (loss = sum_c(k_c * z_c)): dx_j = g *
// (p_j * sum(k) - k_j). nll_loss is the same with z_c = -x_c and no softmax: dx_j = -g * k_j.
#pragma once
#include <optional>
#include <string>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

enum class Reduction : uint8_t { None, Mean, Sum };
// "none", "mean" or "sum"; size_average and reduce, where given, say it the old way.
Reduction parse_reduction(const char* op, const std::string& reduction, std::optional<bool> size_average = {},
                          std::optional<bool> reduce = {});

// input: (C,), (N, C) or (N, C, d1, ...); target: class indices () / (N,) / (N, d1, ...) of an integer dtype, or class
// probabilities of the input's shape and dtype. weight: (C,). Rows whose target is ignore_index count for nothing.
Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                     Reduction reduction, double label_smoothing);
// input: log-probabilities; target: class indices.
Tensor nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                Reduction reduction);

struct CrossEntropyArgs {
  int64_t rows, classes, ignore_index;
  DType dtype, target_dtype;  // of the target: an integer type (class indices), or dtype (probabilities)
  bool logits;                // false: x holds log-probabilities
  Reduction reduction;
  double label_smoothing;
  const void *x, *target;  // [rows][classes]; [rows] or [rows][classes]
  const void* weight;      // null, or accumulate_dtype [classes]
  void* loss;              // dtype: [rows] (None), or one
  double* rows_stats;      // out, for the backward pass: [rows] max(x), then [rows] sum(exp(x - max)) (logits only)
  double* total_weight;    // out: what "mean" divides by
  int64_t* bad_row;        // out: the first row whose class is out of range, or -1; CUDA kernels raise a fault
};
struct CrossEntropyGradArgs {
  CrossEntropyArgs forward;
  const void* dloss;  // dtype: [rows], or one
  Grad dx, dtarget;   // dtarget: for probabilities
};
SW_DECLARE_KERNEL(cross_entropy_forward, CrossEntropyArgs)
SW_DECLARE_KERNEL(cross_entropy_backward, CrossEntropyGradArgs)

}  // namespace skipway

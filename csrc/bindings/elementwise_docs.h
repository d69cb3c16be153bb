// One line for each elementwise function: its formula. What all share stands in kCommon.
#pragma once
#include <string>

namespace skipway::bindings {

inline constexpr struct {
  const char* names;  // separated and surrounded by spaces; the in-place form `name_` shares the line
  const char* text;
} kElementwiseDocs[] = {
    {" add ", "input + alpha * other."},
    {" sub subtract ", "input - alpha * other."},
    {" rsub ", "other - alpha * input."},
    {" mul multiply ", "input * other."},
    {" div divide ", "input / other; rounding_mode None (true division), \"trunc\" or \"floor\"."},
    {" true_divide ", "input / other, always in a floating dtype."},
    {" floor_divide ",
     "floor(input / other). RuntimeError where an integer is divided by 0 (found on a GPU: at the next "
     "wait for it)."},
    {" remainder ", "input - other * floor(input / other): the sign is other's."},
    {" fmod ", "input - other * trunc(input / other): the sign is input's."},
    {" pow ", "input ** exponent."},
    {" float_power ", "input ** exponent in float64."},
    {" maximum ", "The larger of the two; NaN where either is NaN."},
    {" minimum ", "The smaller of the two; NaN where either is NaN."},
    {" fmax ", "The larger of the two; the other one where one is NaN."},
    {" fmin ", "The smaller of the two; the other one where one is NaN."},
    {" atan2 arctan2 ", "The angle of the point (other, input), in radians from -pi to pi."},
    {" xlogy ", "input * log(other); 0 where input is 0."},
    {" hypot ", "sqrt(input^2 + other^2)."},
    {" copysign ", "|input| with the sign of other."},
    {" logaddexp ", "log(exp(input) + exp(other)), without overflow."},
    {" eq ", "input == other, a bool tensor."},
    {" ne not_equal ", "input != other, a bool tensor."},
    {" lt less ", "input < other, a bool tensor."},
    {" le less_equal ", "input <= other, a bool tensor."},
    {" gt greater ", "input > other, a bool tensor."},
    {" ge greater_equal ", "input >= other, a bool tensor."},
    {" isclose ", "|input - other| <= atol + rtol * |other|, a bool tensor; equal_nan: NaN is close to NaN."},
    {" logical_and ", "Are both different from 0? A bool tensor."},
    {" logical_or ", "Is either different from 0? A bool tensor."},
    {" logical_xor ", "Is exactly one different from 0? A bool tensor."},
    {" logical_not ", "Is it 0? A bool tensor."},
    {" bitwise_and ", "Bitwise and, of integers and bools."},
    {" bitwise_or ", "Bitwise or, of integers and bools."},
    {" bitwise_xor ", "Bitwise exclusive or, of integers and bools."},
    {" bitwise_not ", "Bitwise complement, of integers and bools."},
    {" bitwise_left_shift ", "input * 2^other, of integers."},
    {" bitwise_right_shift ", "floor(input / 2^other), of integers."},
    {" neg negative ", "-input."},
    {" positive ", "input itself."},
    {" abs absolute ", "|input|."},
    {" sign sgn ", "-1, 0 or 1; NaN stays NaN."},
    {" exp ", "e^input."},
    {" exp2 ", "2^input."},
    {" expm1 ", "e^input - 1, exact near 0."},
    {" log ", "The natural logarithm; NaN below 0, -inf at 0."},
    {" log2 ", "The logarithm to base 2."},
    {" log10 ", "The logarithm to base 10."},
    {" log1p ", "log(1 + input), exact near 0."},
    {" sqrt ", "The square root; NaN below 0."},
    {" rsqrt ", "1 / sqrt(input)."},
    {" square ", "input^2."},
    {" reciprocal ", "1 / input."},
    {" sin ", "The sine of radians."},
    {" cos ", "The cosine of radians."},
    {" tan ", "The tangent of radians."},
    {" asin arcsin ", "The inverse sine, in radians."},
    {" acos arccos ", "The inverse cosine, in radians."},
    {" atan arctan ", "The inverse tangent, in radians."},
    {" sinh ", "(e^input - e^-input) / 2."},
    {" cosh ", "(e^input + e^-input) / 2."},
    {" tanh ", "(e^input - e^-input) / (e^input + e^-input)."},
    {" asinh arcsinh ", "The inverse of sinh."},
    {" acosh arccosh ", "The inverse of cosh; NaN below 1."},
    {" atanh arctanh ", "The inverse of tanh; NaN outside of [-1, 1]."},
    {" sigmoid ", "1 / (1 + e^-input)."},
    {" logit ", "log(input / (1 - input)); input is clamped to [eps, 1 - eps] first where eps is given."},
    {" erf ", "2 / sqrt(pi) times the integral of exp(-t^2) from 0 to input."},
    {" erfc ", "1 - erf(input), exact for large input."},
    {" erfinv ", "The inverse of erf."},
    {" floor ", "The largest integer that is not above input."},
    {" ceil ", "The smallest integer that is not below input."},
    {" round ", "The nearest integer, halves to even; with decimals, the nearest multiple of 10^-decimals."},
    {" trunc fix ", "The integer part, rounded towards 0."},
    {" frac ", "input - trunc(input)."},
    {" isnan ", "Is it NaN? A bool tensor."},
    {" isinf ", "Is it an infinity? A bool tensor."},
    {" isfinite ", "Is it neither NaN nor an infinity? A bool tensor."},
    {" nan_to_num ", "NaN becomes nan, infinities posinf and neginf (by default the largest finite values)."},
    {" deg2rad ", "input * pi / 180."},
    {" rad2deg ", "input * 180 / pi."},
    {" where ", "input where condition, else other."},
    {" masked_fill ", "value where mask, else input."},
    {" clamp clip ", "input limited to [min, max]; either may be None. NaN stays NaN."},
    {" clamp_min ", "input, but at least min."},
    {" clamp_max ", "input, but at most max."},
    {" lerp ", "input + weight * (end - input)."},
    {" addcmul ", "input + value * tensor1 * tensor2."},
    {" addcdiv ", "input + value * tensor1 / tensor2."},
};

inline std::string elementwise_doc(std::string name) {
  const bool in_place = name.size() > 1 && name.back() == '_' && name[0] != '_';
  if (in_place) name.pop_back();
  for (const auto& d : kElementwiseDocs) {
    if (std::string(d.names).find(" " + name + " ") == std::string::npos) continue;
    return std::string(d.text) + (in_place
                                      ? "\n\nIn place: input holds the result, in its own dtype and shape."
                                      : "\n\nElement by element; shapes are broadcast (ShapeError where they do not), "
                                        "dtypes promoted.");
  }
  return "";
}

}  // namespace skipway::bindings

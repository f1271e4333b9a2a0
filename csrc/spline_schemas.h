// Schemas of the convolution with tabulated filters, see flashmd/ops/spline_conv.py.
#pragma once

#define FLASHMD_SPLINE "Tensor features, Tensor fraction, Tensor values, Tensor slopes, "
#define FLASHMD_SORTED "Tensor index, Tensor groups, float spacing, "

#define FLASHMD_SPLINE_CONV "spline_conv(" FLASHMD_SPLINE FLASHMD_SORTED "int instruction_set=-1) -> Tensor"
#define FLASHMD_SPLINE_CONV_BACKWARD                                                     \
  "spline_conv_backward(Tensor grad, " FLASHMD_SPLINE FLASHMD_SORTED                     \
  "bool want_features, bool want_fraction, bool want_table, int instruction_set=-1) -> " \
  "(Tensor features, Tensor fraction, Tensor values, Tensor slopes)"
#define FLASHMD_SPLINE_CONV_DOUBLE_BACKWARD                                                             \
  "spline_conv_double_backward(Tensor grad, " FLASHMD_SPLINE                                            \
  "Tensor? dot_features, Tensor? dot_fraction, Tensor? dot_values, Tensor? dot_slopes, " FLASHMD_SORTED \
  "bool want_fraction, int instruction_set=-1) -> "                                                     \
  "(Tensor grad, Tensor features, Tensor fraction, Tensor values, Tensor slopes)"

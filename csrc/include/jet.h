// A function of one variable with its first and second derivative.
#pragma once

namespace flashmd {

template <typename V>
struct Jet {
  V value, slope, curvature;
};

}  // namespace flashmd

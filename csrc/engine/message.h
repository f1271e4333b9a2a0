// Errors of the engine, in the one form of this package: what, expected, got, how to fix it.
#pragma once

#include <stdexcept>
#include <string>

namespace flashmd::engine {

class Error : public std::runtime_error {
public:
  Error(const std::string& what, const std::string& expected, const std::string& got, const std::string& fix)
      : std::runtime_error(what + ": expected " + expected + ", got " + got + ". To fix it, " + fix + ".") {}
};

}  // namespace flashmd::engine

// SHA-256 (FIPS 180-4), by which a force recognises its file.
#pragma once

#include <cstddef>
#include <string>

namespace flashmd::engine {

// The hash of `size` bytes as 64 hexadecimal digits.
std::string sha256(const unsigned char* data, size_t size);

}  // namespace flashmd::engine

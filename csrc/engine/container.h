// A file of named arrays, as flashmd/potential/compiled/export.py writes it.
//
// All numbers are little-endian. A header of 64 bytes (magic, version of the format, number of arrays, size of the
// file, zeros) is followed by one entry of 64 bytes for each array and by the arrays, each at a multiple of 64.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "cache_line.h"
#include "message.h"

namespace flashmd::engine {

enum class ElementType : int64_t { float32 = 1, float64 = 2, int16 = 3, int32 = 4, int64 = 5, text = 6 };

template <typename E>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<E, float>) return ElementType::float32;
  if constexpr (std::is_same_v<E, double>) return ElementType::float64;
  if constexpr (std::is_same_v<E, int16_t>) return ElementType::int16;
  if constexpr (std::is_same_v<E, int32_t>) return ElementType::int32;
  if constexpr (std::is_same_v<E, int64_t>) return ElementType::int64;
  if constexpr (std::is_same_v<E, char>) return ElementType::text;
}

class Container {
public:
  // Reads the whole file. `wanted_hash` is compared with the SHA-256 of its bytes unless it is empty.
  Container(const std::string& path, const std::string& wanted_hash);

  bool has(const std::string& name) const { return find(name) != nullptr; }

  // The array called `name`; an Error where there is none of this type.
  template <typename E>
  std::span<const E> array(const std::string& name) const {
    const Entry* entry = find(name);
    if (!entry || entry->type != element_type<E>()) refuse("the array '" + name + "' of a known type", "none");
    return {reinterpret_cast<const E*>(bytes() + entry->offset), static_cast<size_t>(entry->count)};
  }

  // The number in an array of one.
  template <typename E>
  E number(const std::string& name) const {
    const auto values = array<E>(name);
    if (values.size() != 1) refuse("one number as '" + name + "'", std::to_string(values.size()));
    return values[0];
  }

  std::string text(const std::string& name) const {
    const auto letters = array<char>(name);
    return {letters.begin(), letters.end()};
  }

  [[noreturn]] void refuse(const std::string& expected, const std::string& got,
                           const std::string& fix = "export the potential again") const;

private:
  struct Header {
    char magic[8];
    int64_t version, n_arrays, n_bytes, zeros[4];
  };
  struct Entry {
    char name[40];
    ElementType type;
    int64_t offset, count;
  };

  void read();
  void check_hash(const std::string& wanted) const;
  void check_structure() const;
  const Entry* find(const std::string& name) const;
  const unsigned char* bytes() const { return reinterpret_cast<const unsigned char*>(lines_.data()); }
  const Header& header() const { return *reinterpret_cast<const Header*>(bytes()); }
  std::span<const Entry> entries() const;

  std::string path_;
  int64_t n_bytes_ = 0;
  std::vector<CacheLine> lines_;
};

}  // namespace flashmd::engine

#include "container.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "sha256.h"

namespace flashmd::engine {
namespace {

constexpr char kMagic[8] = {'F', 'L', 'A', 'S', 'H', 'M', 'D', '\n'};
constexpr int64_t kVersion = 1;

int64_t size_of(ElementType type) {
  switch (type) {
    case ElementType::float32:
    case ElementType::int32:
      return 4;
    case ElementType::float64:
    case ElementType::int64:
      return 8;
    case ElementType::int16:
      return 2;
    case ElementType::text:
      return 1;
  }
  return 0;
}

}  // namespace

Container::Container(const std::string& path, const std::string& wanted_hash) : path_(path) {
  read();
  check_hash(wanted_hash);
  check_structure();
}

void Container::refuse(const std::string& expected, const std::string& got, const std::string& fix) const {
  throw Error("compiled model '" + path_ + "'", expected, got, fix);
}

void Container::read() {
  std::error_code failure;
  const auto size = std::filesystem::file_size(path_, failure);
  std::ifstream file(path_, std::ios::binary);
  if (!failure) {
    n_bytes_ = static_cast<int64_t>(size);
    lines_.resize(cache_lines<char>(n_bytes_));
    file.read(reinterpret_cast<char*>(lines_.data()), n_bytes_);
  }
  if (failure || !file) {
    const std::string got = failure ? failure.message() : "one that is missing or not readable";
    refuse("a readable file", got, "export the potential again, or pass the path of the file");
  }
}

void Container::check_hash(const std::string& wanted) const {
  if (wanted.empty()) return;
  const std::string found = sha256(bytes(), static_cast<size_t>(n_bytes_));
  if (found != wanted) {
    refuse("the file with the SHA-256 " + wanted, found, "restore the file, or make the force again with the new one");
  }
}

void Container::check_structure() const {
  const int64_t head = sizeof(Header);
  if (n_bytes_ < head || memcmp(header().magic, kMagic, sizeof(kMagic)) != 0) {
    refuse("a compiled potential of flashmd", "a file of another kind");
  }
  if (header().version != kVersion) {
    refuse("version " + std::to_string(kVersion) + " of the format", std::to_string(header().version),
           "export the potential with the flashmd that this library belongs to");
  }
  if (header().n_bytes != n_bytes_) {
    refuse(std::to_string(header().n_bytes) + " bytes", std::to_string(n_bytes_) + ", so it is truncated or too long");
  }
  const int64_t room = (n_bytes_ - head) / static_cast<int64_t>(sizeof(Entry));
  if (header().n_arrays < 0 || header().n_arrays > room) refuse("a directory within the file", "a longer one");
  for (const Entry& entry : entries()) {
    const int64_t size = size_of(entry.type);
    const bool inside = entry.offset >= head && entry.offset <= n_bytes_ && entry.offset % sizeof(CacheLine) == 0 &&
                        size > 0 && entry.count >= 0 && entry.count <= (n_bytes_ - entry.offset) / size;
    if (!inside || entry.name[sizeof(entry.name) - 1] != 0) refuse("arrays within the file", "others");
  }
}

std::span<const Container::Entry> Container::entries() const {
  return {reinterpret_cast<const Entry*>(bytes() + sizeof(Header)), static_cast<size_t>(header().n_arrays)};
}

const Container::Entry* Container::find(const std::string& name) const {
  for (const Entry& entry : entries()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

}  // namespace flashmd::engine

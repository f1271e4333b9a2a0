#include "model.h"

#include <algorithm>
#include <cmath>

#include "../cpu/tiles.h"

namespace flashmd::engine {
namespace {

constexpr int64_t kLanes = 16;

void require(bool good, const ModelHead& head, const std::string& part) {
  if (!good) head.file.refuse(part + " of consistent sizes", "others");
}

template <typename T>
Network<T> read_network(const ModelHead& head, const std::string& prefix) {
  const Container& file = head.file;
  Network<T> network{};
  network.cutoff = file.number<double>(prefix + "cutoff");
  network.skin = file.number<double>(prefix + "skin");
  cpu::SchNetModel<T>& model = network.model;
  const auto sizes = file.array<int64_t>(prefix + "sizes");
  require(cpu::read_schnet_sizes(sizes.data(), static_cast<int64_t>(sizes.size()), model.sizes) &&
              network.cutoff > 0.0 && std::isfinite(network.cutoff) && network.skin >= 0.0,
          head, "a network");
  int64_t n_weights = 0;
  const auto take_weights = [&](const auto& weights) {
    model.weights = weights.data();
    n_weights = static_cast<int64_t>(weights.size());
  };
  if (model.sizes.storage == cpu::Storage::full) {
    take_weights(file.array<T>(prefix + "weights"));
  } else {
    take_weights(file.array<int16_t>(prefix + "weights"));
  }
  const auto constants = file.array<T>(prefix + "constants"), table = file.array<T>(prefix + "table");
  model.constants = constants.data();
  model.table = table.data();
  model.cutoff = static_cast<T>(network.cutoff);
  const int64_t n_knots = model.sizes.n_blocks * model.sizes.n_filters * (model.sizes.n_intervals + 1) * 2;
  require(n_weights == cpu::schnet_weights_size(model.sizes) &&
              static_cast<int64_t>(constants.size()) == cpu::schnet_constants_size(model.sizes) &&
              static_cast<int64_t>(table.size()) == n_knots,
          head, "a network");
  const auto known = [&](int64_t type) { return type >= 0 && type < model.sizes.n_types; };
  require(std::all_of(head.types.begin(), head.types.end(), known), head, "types");
  if (std::is_same_v<T, float> && cpu::has_tiles()) {
    network.tiles.reset(new CacheLine[cache_lines<uint16_t>(cpu::schnet_tiles_size(model.sizes))]);
    const auto tiles = reinterpret_cast<uint16_t*>(network.tiles.get());
    cpu::pack_tiles(model.sizes, model.weights, tiles);
    model.tiles = tiles;
  }
  return network;
}

// Rows of a table of int64.
template <typename Row>
std::span<const Row> rows_of(const ModelHead& head, const std::string& name) {
  const auto numbers = head.file.array<int64_t>(name);
  constexpr size_t kColumns = sizeof(Row) / sizeof(int64_t);
  require(numbers.size() % kColumns == 0, head, name);
  return {reinterpret_cast<const Row*>(numbers.data()), numbers.size() / kColumns};
}

bool is_within(int64_t begin, int64_t size, size_t total) {
  return begin >= 0 && size >= 0 && size <= static_cast<int64_t>(total) && begin <= static_cast<int64_t>(total) - size;
}

// Bounds that ascend from zero to `last`.
bool are_bounds(std::span<const int64_t> bounds, size_t last) {
  return !bounds.empty() && bounds.front() == 0 && bounds.back() == static_cast<int64_t>(last) &&
         std::is_sorted(bounds.begin(), bounds.end());
}

// Whether a form can have so many columns, see flashmd.ops.prior_layout.PriorForm.
bool has_columns(PriorForm form, int64_t n_columns) {
  constexpr int64_t kColumns[] = {2, 1, 3, 1, 5, 2, 5, 6, 2, 5, 2, 2}, kMost = 1 << 16;
  if (form == PriorForm::fourier) return n_columns >= 3 && n_columns % 2 == 1 && n_columns < kMost;
  return n_columns == kColumns[static_cast<int64_t>(form)];
}

// Whether a range of groups stays within the arrays that its section names.
bool is_good(const cpu::PriorSection& section, const cpu::PriorRange& range, std::span<const int32_t> index,
             size_t n_parameters) {
  if (section.form < 0 || section.form > static_cast<int64_t>(PriorForm::fourier)) return false;
  const auto form = static_cast<PriorForm>(section.form);
  const bool rows = section.layout == static_cast<int64_t>(cpu::PriorLayout::rows);
  const int64_t width = rows ? 2 : order_of(form) * kLanes, end = range.end;
  if (range.begin < 0 || end < range.begin || end > static_cast<int64_t>(index.size()) ||
      (rows && order_of(form) != 2) || !has_columns(form, section.n_columns) ||
      !is_within(section.index_begin, end * width, index.size()) ||
      !is_within(section.parameter_begin, end * section.n_columns * kLanes, n_parameters)) {
    return false;
  }
  // Rows reach over sixteen atoms from a multiple of sixteen on.
  bool good = true;
  for (int64_t group = 0; rows && group < end; ++group) {
    good = good && index[section.index_begin + 2 * group + 1] % kLanes == 0;
  }
  return good;
}

template <typename T>
cpu::PriorPlan<T> read_priors(const ModelHead& head) {
  const Container& file = head.file;
  const auto index = file.array<int32_t>("priors.index");
  const auto parameters = file.array<T>("priors.parameters");
  const auto sections = rows_of<cpu::PriorSection>(head, "priors.sections");
  const auto cutoffs = file.array<double>("priors.cutoffs");
  const auto ranges = rows_of<cpu::PriorRange>(head, "priors.ranges");
  const auto slabs = file.array<int64_t>("priors.slab_ptr"), templates = file.array<int64_t>("priors.template_ptr");
  const auto member = file.array<int64_t>("priors.template_of");
  require(cutoffs.size() == sections.size() && are_bounds(slabs, ranges.size()) && templates.size() == 2 &&
              are_bounds(templates, slabs.size() - 1) && member.size() == 1 && member[0] == 0,
          head, "priors");
  const int64_t n_atoms = static_cast<int64_t>(head.types.size()), stride = (n_atoms + kLanes - 1) / kLanes * kLanes;
  const auto inside = [&](int32_t atom) { return atom >= 0 && atom < stride; };
  require(std::all_of(index.begin(), index.end(), inside), head, "priors");
  for (const cpu::PriorRange& range : ranges) {
    require(is_within(range.section, 1, sections.size()) &&
                is_good(sections[range.section], range, index, parameters.size()),
            head, "priors");
  }
  return {index.data(),  parameters.data(), sections.data(),  cutoffs.data(),
          ranges.data(), slabs.data(),      templates.data(), member.data()};
}

}  // namespace

ModelHead::ModelHead(const std::string& path, const std::string& wanted_hash)
    : file(path, wanted_hash),
      name(file.text("model.name")),
      types(file.array<int64_t>("model.types")),
      masses(file.array<double>("model.masses")),
      double_precision(file.number<int64_t>("model.number_bytes") == sizeof(double)) {
  require(!types.empty() && masses.size() == types.size(), *this, "types and masses");
}

template <typename T>
Model<T>::Model(const ModelHead& head) {
  const int64_t n_terms = head.file.number<int64_t>("model.n_terms");
  for (int64_t i = 0; i < n_terms; ++i) {
    const std::string prefix = "term" + std::to_string(i) + ".";
    if (head.file.has(prefix + "energy")) {
      terms.push_back({std::nullopt, head.file.number<double>(prefix + "energy")});
    } else {
      terms.push_back({read_network<T>(head, prefix), 0.0});
    }
  }
  if (head.file.has("priors.index")) priors = read_priors<T>(head);
}

template struct Model<float>;
template struct Model<double>;

}  // namespace flashmd::engine

// Convolution with filters that are computed tile by tile and never stored for all pairs.
//
// Pairs are taken in ranges of bounded size. Threads first compute the filters of a range, slot by slot, together with
// all sums over its pairs that weights need; then they add the messages, chunk of channels by chunk, each in the order
// of the pairs. Neither order depends on the number of threads.

#include "../flash.h"

#include "flash_tile.h"

namespace flashmd::cpu::FLASHMD_ISA {
namespace {

constexpr int64_t kPairsOfSlot = kRows * kFlashTilesOfSlot;

// Pairs beyond the cutoff contribute nothing to any result.
template <typename T>
void choose_active(const FlashInput<T>& input, Plan<T>& plan) {
  plan.n_active = 0;
  for (int64_t pair = 0; pair < input.sizes.n_pairs; ++pair) {
    input.active[plan.n_active] = pair;
    plan.n_active += input.distance[pair] > T(input.form.envelope.upper) ? 0 : 1;
  }
}

// Slots that have pairs in the first range and with that in any; at least one, for the sums over no pairs.
template <typename T>
int64_t used_slots(const Plan<T>& plan) {
  const int64_t wanted = (plan.n_active + kPairsOfSlot - 1) / kPairsOfSlot;
  return wanted < 1 ? 1 : wanted < kFlashSlots ? wanted : kFlashSlots;
}

template <typename T>
Plan<T> make_plan(const FlashInput<T>& input, int order, const FlashGradients<T>& wanted, Arena<T>& arena) {
  const FlashSizes& sizes = input.sizes;
  Plan<T> plan{};
  plan.order = order;
  plan.by_features = order != 1 || wanted.features;
  plan.by_distance = wanted.distance;
  plan.by_weights = wanted.weight_in;
  plan.by_basis = wanted.centres;
  plan.form = input.form;
  plan.n_atoms = sizes.n_atoms;
  plan.n_filters = padded(sizes.n_filters);
  plan.n_basis = padded(sizes.n_basis);
  plan.receiver = input.receiver;
  plan.sender = input.sender;
  plan.active = input.active;
  plan.distance = input.distance;
  plan.by_pair = wanted.distance;
  plan.network.fill(input.weights, sizes.n_filters, sizes.n_basis, arena);
  plan.filters = arena.take(kFlashPairs * plan.n_filters);
  plan.turned_filters = arena.take(kFlashPairs * plan.n_filters);
  plan.out = arena.zeros(plan.n_atoms * plan.n_filters);
  plan.by_x = arena.zeros(plan.n_atoms * plan.n_filters);
  for (int64_t pair = 0; wanted.distance && pair < sizes.n_pairs; ++pair) wanted.distance[pair] = T(0);
  choose_active(input, plan);
  for (TileScratch<T>& tile : plan.tiles) take_tile(tile, plan.n_filters, plan.n_basis, arena);
  for (int64_t slot = 0; plan.reverse() && slot < used_slots(plan); ++slot) {
    take_slot(plan.slots[slot], plan.n_filters, plan.n_basis, arena);
  }
  return plan;
}

// The tiles of the slots of one range.
template <typename T>
void run_slots(const Plan<T>& plan, int64_t range, int64_t begin, int64_t end) {
  for (int64_t slot = begin; slot < end; ++slot) {
    for (int64_t tile = slot * kFlashTilesOfSlot; tile < (slot + 1) * kFlashTilesOfSlot; ++tile) {
      const int64_t first = range + tile * kRows, left = plan.n_active - first;
      if (left <= 0) return;
      run_tile(
          TileTask<T>{plan, plan.tiles[begin], plan.slots[slot], first, left < kRows ? left : kRows, tile * kRows});
    }
  }
}

// to[receiver] += filters * from[sender] and the same the other way round.
template <typename T>
FLASHMD_INLINE void send(T* to, const T* from, int64_t receiver, int64_t sender, const Vec<T>& filter) {
  T *to_receiver = to + receiver * kLanes, *to_sender = to + sender * kLanes;
  store(to_receiver, load(to_receiver) + filter * load(from + sender * kLanes));
  store(to_sender, load(to_sender) + filter * load(from + receiver * kLanes));
}

// Messages of the pairs of one range along one chunk of channels.
template <typename T>
FLASHMD_INLINE void send_chunk(const Plan<T>& plan, int64_t range, int64_t n_pairs, int64_t chunk) {
  const int64_t nodes = chunk * plan.n_atoms * kLanes, pairs = chunk * kFlashPairs * kLanes;
  const T* from = plan.order == 0 ? plan.features : plan.order == 1 ? plan.grad : plan.along;
  for (int64_t row = 0; row < n_pairs; ++row) {
    const int64_t pair = plan.active[range + row], receiver = plan.receiver[pair], sender = plan.sender[pair];
    send(plan.out + nodes, from + nodes, receiver, sender, load(plan.filters + pairs + row * kLanes));
    if (plan.order < 2) continue;
    const Vec<T> turned = load(plan.turned_filters + pairs + row * kLanes);
    send(plan.out + nodes, plan.features + nodes, receiver, sender, turned);
    send(plan.by_x + nodes, plan.grad + nodes, receiver, sender, turned);
  }
}

template <typename T>
void run_pairs(const Plan<T>& plan) {
  for (int64_t range = 0; range < plan.n_active; range += kFlashPairs) {
    const int64_t left = plan.n_active - range, n_pairs = left < kFlashPairs ? left : kFlashPairs;
    parallel_for((n_pairs + kPairsOfSlot - 1) / kPairsOfSlot, 1,
                 [&](int64_t begin, int64_t end) { run_slots(plan, range, begin, end); });
    if (!plan.by_features) continue;
    parallel_for(plan.n_filters / kLanes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) send_chunk(plan, range, n_pairs, chunk);
    });
  }
}

// Add the sums of all slots to those of the first.
template <typename T>
FLASHMD_INLINE const T* add_slots(const Plan<T>& plan, T* SlotSums<T>::* member, int64_t size) {
  T* total = plan.slots[0].*member;
  for (int64_t slot = 1; slot < used_slots(plan); ++slot) {
    const T* part = plan.slots[slot].*member;
    for (int64_t i = 0; i < size; ++i) total[i] += part[i];
  }
  return total;
}

template <typename T>
void write_gradients(const Plan<T>& plan, const FlashSizes& sizes, const FlashGradients<T>& wanted) {
  const int64_t n_filters = plan.n_filters, n_basis = plan.n_basis;
  if (plan.by_weights) {
    const T* by_out = add_slots(plan, &SlotSums<T>::out, n_filters * n_filters);
    unpack(by_out, n_filters, sizes.n_filters, sizes.n_filters, wanted.weight_out);
    const T* by_in = add_slots(plan, &SlotSums<T>::in, n_filters * n_basis);
    unpack(by_in, n_filters, sizes.n_filters, sizes.n_basis, wanted.weight_in);
    unpack(add_slots(plan, &SlotSums<T>::bias, n_filters), 1, 1, sizes.n_filters, wanted.bias_in);
  }
  if (plan.by_basis) {
    unpack(add_slots(plan, &SlotSums<T>::centres, n_basis), 1, 1, sizes.n_basis, wanted.centres);
    unpack(add_slots(plan, &SlotSums<T>::widths, n_basis), 1, 1, sizes.n_basis, wanted.widths);
  }
}

}  // namespace

template <typename T>
void flash_cfconv(const FlashInput<T>& input, const T* features, T* out) {
  const FlashSizes& sizes = input.sizes;
  Arena<T> arena{input.scratch};
  Plan<T> plan = make_plan(input, 0, FlashGradients<T>{}, arena);
  plan.features = pack(features, sizes.n_atoms, sizes.n_filters, sizes.n_atoms, arena);
  run_pairs(plan);
  unpack(plan.out, sizes.n_atoms, sizes.n_atoms, sizes.n_filters, out);
}

template <typename T>
void flash_cfconv_backward(const FlashInput<T>& input, const T* grad, const T* features,
                           const FlashGradients<T>& gradients) {
  const FlashSizes& sizes = input.sizes;
  Arena<T> arena{input.scratch};
  Plan<T> plan = make_plan(input, 1, gradients, arena);
  plan.features = pack(features, sizes.n_atoms, sizes.n_filters, sizes.n_atoms, arena);
  plan.grad = pack(grad, sizes.n_atoms, sizes.n_filters, sizes.n_atoms, arena);
  run_pairs(plan);
  if (gradients.features) unpack(plan.out, sizes.n_atoms, sizes.n_atoms, sizes.n_filters, gradients.features);
  write_gradients(plan, sizes, gradients);
}

template <typename T>
void flash_cfconv_double_backward(const FlashInput<T>& input, const FlashDirection<T>& direction, const T* grad,
                                  const T* features, T* by_grad, const FlashGradients<T>& gradients) {
  const FlashSizes& sizes = input.sizes;
  Arena<T> arena{input.scratch};
  Plan<T> plan = make_plan(input, 2, gradients, arena);
  plan.direction = direction.distance;
  plan.turned = direction.weights.weight_in || direction.weights.centres;
  plan.turn.fill(direction.weights, sizes.n_filters, sizes.n_basis, arena);
  plan.features = pack(features, sizes.n_atoms, sizes.n_filters, sizes.n_atoms, arena);
  plan.grad = pack(grad, sizes.n_atoms, sizes.n_filters, sizes.n_atoms, arena);
  plan.along = pack(direction.features, sizes.n_atoms, sizes.n_filters, sizes.n_atoms, arena);
  run_pairs(plan);
  unpack(plan.out, sizes.n_atoms, sizes.n_atoms, sizes.n_filters, by_grad);
  unpack(plan.by_x, sizes.n_atoms, sizes.n_atoms, sizes.n_filters, gradients.features);
  write_gradients(plan, sizes, gradients);
}

#define FLASHMD_INSTANTIATE(T)                                                                                       \
  template void flash_cfconv(const FlashInput<T>&, const T*, T*);                                                    \
  template void flash_cfconv_backward(const FlashInput<T>&, const T*, const T*, const FlashGradients<T>&);           \
  template void flash_cfconv_double_backward(const FlashInput<T>&, const FlashDirection<T>&, const T*, const T*, T*, \
                                             const FlashGradients<T>&);
FLASHMD_INSTANTIATE(float)
FLASHMD_INSTANTIATE(double)

}  // namespace flashmd::cpu::FLASHMD_ISA

// Division of a batch among threads.

#include "schnet_layout.h"

namespace flashmd::cpu {

template <typename T>
int64_t schnet_workspace_size(const SchNetSizes& sizes, int64_t n_atoms, int64_t n_pairs) {
  return SchNetWorkspace(sizes, n_atoms, n_pairs, sizeof(T)).size;
}

int64_t schnet_weights_size(const SchNetSizes& sizes) {
  return SchNetLayout(sizes).n_weights;
}

int64_t schnet_constants_size(const SchNetSizes& sizes) {
  return SchNetLayout(sizes).n_constants;
}

template int64_t schnet_workspace_size<float>(const SchNetSizes&, int64_t, int64_t);
template int64_t schnet_workspace_size<double>(const SchNetSizes&, int64_t, int64_t);

}  // namespace flashmd::cpu

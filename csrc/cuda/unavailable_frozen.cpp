// What the launchers of the frozen network are in a build without nvcc: one clear error.

#include "launchers.h"
#include "node_layers.h"
#include "row_list.h"
#include "spline_rows.h"

namespace flashmd::cuda {

#define FLASHMD_UNAVAILABLE(T)                                                                                         \
  template <>                                                                                                          \
  void row_list_update(const Batch<T>&, double, const RowList<T>&, Stream) {                                           \
    current_stream(0);                                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void row_geometry(const RowGeometry<T>&, const RowPairs<T>&, Stream) {                                               \
    current_stream(0);                                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void row_convolve(const RowSystems&, const RowPairs<T>&, const RowTable<T>&, const RowPlan&, const T*, T*, Stream) { \
    current_stream(0);                                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void row_differentiate(const RowSystems&, const RowPairs<T>&, const RowTable<T>&, const RowPlan&,                    \
                         const RowGradients<T>&, Stream) {                                                             \
    current_stream(0);                                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void node_layer(const NodeLayer<T>&, Stream) {                                                                       \
    current_stream(0);                                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void node_energy(const NodeEnergy<T>&, Stream) {                                                                     \
    current_stream(0);                                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  void totals(const Totals<T>&, Stream) {                                                                              \
    current_stream(0);                                                                                                 \
  }
FLASHMD_UNAVAILABLE(float)
FLASHMD_UNAVAILABLE(double)

}  // namespace flashmd::cuda

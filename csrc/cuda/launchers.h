// CUDA kernels behind plain functions: device pointers, sizes, stream. They launch and return: no allocation, no
// synchronisation, so all but the neighbour list can be captured in a graph. T is float or double.
//
// A build without nvcc links unavailable.cpp, whose functions raise, in place of the .cu files.
#pragma once

#include "../include/graph.h"

namespace flashmd::cuda {

using Stream = void*;

// The current torch stream of a device; raises in a build or under a torch without CUDA.
Stream current_stream(int32_t device);

template <typename T>
void cfconv(const T* features, const T* filters, const Rows& rows, int64_t n_atoms, int64_t n_channels, T* out,
            Stream stream);
template <typename T>
void edge_product(const T* left, const T* right, const Graph& graph, int64_t n_channels, T* out, Stream stream);
template <typename T>
void edge_difference(const T* values, const Graph& graph, int64_t n_channels, T* out, Stream stream);
template <typename T>
void edge_divergence(const T* values, const Graph& graph, int64_t n_channels, T* out, Stream stream);
template <typename T>
void segment_sum(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out, Stream stream);
template <typename T>
void segment_expand(const T* values, const int64_t* ptr, int64_t n_segments, int64_t n_channels, T* out, Stream stream);

template <typename T>
void philox_normal(const RandomRequest& request, T* out, Stream stream);
template <typename T>
void philox_uniform(const RandomRequest& request, T* out, Stream stream);

// Count the neighbours of every atom into row_ptr (as offsets) and report into status (device, three int64).
template <typename T>
void neighbor_count(const Batch<T>& batch, int64_t* row_ptr, int64_t* status, Stream stream);
// Copy the report to the host; the one place that waits for the device.
NeighborStatus read_status(const int64_t* status, Stream stream);
template <typename T>
void neighbor_fill(const Batch<T>& batch, const NeighborOutput& out, Stream stream);

}  // namespace flashmd::cuda

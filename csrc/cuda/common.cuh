// Launching one thread for each item.
#pragma once

#include "launch.h"

// Launch kernel(arguments...) on n_items threads and report launch errors. Nothing is launched for no items.
#define FLASHMD_LAUNCH(kernel, n_items, stream, ...) \
  ::flashmd::cuda::launch<kernel>(::flashmd::cuda::threads_for(n_items), stream, __VA_ARGS__)

// What holds memory. See shim.h.

#include "guarded.h"

#include <c10/core/CachingDeviceAllocator.h>

extern "C" {

int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room) {
    return guarded(error, room, [&] { tensor(leaf).mutable_grad().reset(); });
}

int ewe_gpu_memory(int index, ewe_gpu_bytes *bytes, char *error, size_t room) {
    return guarded(error, room, [&] {
        auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
        // The first of its figures is of large and small pieces together.
        const auto given = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(index)).allocated_bytes[0];
        const auto [free, total] = allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(index));
        *bytes = {given.current, given.peak, static_cast<int64_t>(free), static_cast<int64_t>(total)};
    });
}

int ewe_gpu_forget_peak(int index, char *error, size_t room) {
    return guarded(error, room, [&] {
        c10::getDeviceAllocator(c10::DeviceType::CUDA)->resetPeakStats(static_cast<c10::DeviceIndex>(index));
    });
}
}

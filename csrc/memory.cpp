// What holds memory. See shim.h.

#include "guarded.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace {

// The allocator knows no GPU before CUDA is set up. Throws where there is none.
c10::DeviceAllocator *gpu_allocator() {
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return c10::getDeviceAllocator(c10::DeviceType::CUDA);
}

}  // namespace

extern "C" {

int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room) {
    return guarded(error, room, [&] { tensor(leaf).mutable_grad().reset(); });
}

int ewe_gpu_memory(int index, ewe_gpu_bytes *bytes, char *error, size_t room) {
    return guarded(error, room, [&] {
        auto *allocator = gpu_allocator();
        // The first of its figures is of large and small pieces together.
        const auto given = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(index)).allocated_bytes[0];
        const size_t free = allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(index)).first;
        *bytes = {given.current, given.peak, static_cast<int64_t>(free)};
    });
}

int ewe_gpu_forget_peak(int index, char *error, size_t room) {
    return guarded(error, room, [&] {
        gpu_allocator()->resetPeakStats(static_cast<c10::DeviceIndex>(index));
    });
}
}

// Memory: GPU statistics, and freed gradients. See shim.h.

#include "guarded.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace {

// Sets CUDA up first, since the allocator knows no GPU before. Throws where there is none.
c10::DeviceAllocator *gpu_allocator() {
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return c10::getDeviceAllocator(c10::DeviceType::CUDA);
}

}  // namespace

extern "C" {

int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room) {
    return guarded(error, room, [&] { tensor(leaf).mutable_grad().reset(); });
}

int ewe_storage_release(ewe_tensor x, char *error, size_t room) {
    return guarded(error, room, [&] {
        c10::StorageImpl *storage = tensor(x).storage().unsafeGetStorageImpl();
        const at::Device device = storage->device();
        storage->set_data_ptr_noswap(at::DataPtr(nullptr, device));
        storage->set_nbytes(0);
    });
}

int ewe_storage_fill(ewe_tensor x, size_t bytes, char *error, size_t room) {
    return guarded(error, room, [&] {
        c10::StorageImpl *storage = tensor(x).storage().unsafeGetStorageImpl();
        storage->set_data_ptr_noswap(storage->allocator()->allocate(bytes));
        storage->set_nbytes(bytes);
    });
}

int ewe_gpu_memory(int index, ewe_gpu_bytes *bytes, char *error, size_t room) {
    return guarded(error, room, [&] {
        auto *allocator = gpu_allocator();
        // The first figure is the aggregate of large and small blocks.
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

int ewe_gpu_give_back(char *error, size_t room) {
    return guarded(error, room, [] { gpu_allocator()->emptyCache(); });
}

int ewe_gpu_stream(int index, void **stream, char *error, size_t room) {
    return guarded(error, room, [&] {
        const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
        *stream = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(device).native_handle();
    });
}
}

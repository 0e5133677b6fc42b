// Copies between a GPU and host memory while both go on working. See transfer.h.

#include "transfer.h"

#include "guarded.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <memory>

namespace {

c10::Stream stream_of(int index) {
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(device);
}

c10::Stream stream_of(int index, int64_t stream) {
    return c10::Stream::unpack3(stream, static_cast<c10::DeviceIndex>(index), c10::DeviceType::CUDA);
}

void *recorded(const c10::Stream &stream) {
    auto event = std::make_unique<c10::Event>(c10::DeviceType::CUDA);
    event->record(stream);
    return event.release();
}

}  // namespace

extern "C" {

int ewe_pinned_bytes(int64_t count, ewe_tensor *bytes, char *error, size_t room) {
    return guarded(error, room, [&] {
        const auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(true);
        *bytes = new at::Tensor(at::empty({count}, options));
    });
}

int ewe_copy_without_waiting(ewe_tensor to, ewe_tensor from, char *error, size_t room) {
    return guarded(error, room, [&] { tensor(to).copy_(tensor(from), /*non_blocking=*/true); });
}

int ewe_event_of_stream(int index, void **event, char *error, size_t room) {
    return guarded(error, room, [&] { *event = recorded(stream_of(index)); });
}

int ewe_stream(int index, int beside, int64_t *stream, char *error, size_t room) {
    return guarded(error, room, [&] {
        const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
        const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
        *stream = (beside ? guard.getStreamFromGlobalPool(device) : guard.getStream(device)).id();
    });
}

int ewe_stream_copy(int index, int64_t stream, ewe_tensor to, ewe_tensor from, char *error, size_t room) {
    return guarded(error, room, [&] {
        const c10::StreamGuard guard(stream_of(index, stream));
        tensor(to).copy_(tensor(from), /*non_blocking=*/true);
    });
}

int ewe_stream_record(int index, int64_t stream, void **event, char *error, size_t room) {
    return guarded(error, room, [&] { *event = recorded(stream_of(index, stream)); });
}

int ewe_stream_wait(int index, int64_t stream, void *event, char *error, size_t room) {
    return guarded(error, room, [&] { static_cast<c10::Event *>(event)->block(stream_of(index, stream)); });
}

int ewe_stream_handle(int index, int64_t stream, void **handle, char *error, size_t room) {
    return guarded(error, room, [&] { *handle = stream_of(index, stream).native_handle(); });
}

int ewe_set_device(int index, char *error, size_t room) {
    return guarded(error, room, [&] {
        const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
        c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice(device);
    });
}

int ewe_event_is_done(void *event, int *done, char *error, size_t room) {
    return guarded(error, room, [&] { *done = static_cast<c10::Event *>(event)->query(); });
}

int ewe_event_wait(void *event, char *error, size_t room) {
    return guarded(error, room, [&] { static_cast<c10::Event *>(event)->synchronize(); });
}

void ewe_event_free(void *event) { delete static_cast<c10::Event *>(event); }
}

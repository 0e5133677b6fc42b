// c10d's store and its Gloo collectives. See distributed.h.

#include "distributed.h"

#include "guarded.h"

// libtorch's own definitions; its headers declare nothing without them.
#define USE_C10D_GLOO

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;
using GroupPointer = c10::intrusive_ptr<c10d::ProcessGroupGloo>;
using WorkPointer = c10::intrusive_ptr<c10d::Work>;

StorePointer &store_of(void *pointer) { return *static_cast<StorePointer *>(pointer); }

c10d::ProcessGroupGloo &group_of(void *pointer) { return **static_cast<GroupPointer *>(pointer); }

// Begins a collective.
template <class F> int begun(void **work, char *error, size_t room, F begin) {
    return guarded(error, room, [&] { *work = new WorkPointer(begin()); });
}

}  // namespace

extern "C" {

int ewe_store_open(const char *host, int port, int serves, int listening, const char *prefix, int64_t millis, void **store, char *error,
                   size_t room) {
    return guarded(error, room, [&] {
        c10d::TCPStoreOptions options;
        options.port = static_cast<std::uint16_t>(port);
        options.isServer = serves != 0;
        // Who has joined is counted by ewe, which can name those that have not.
        options.waitWorkers = false;
        options.timeout = std::chrono::milliseconds(millis);
        if (listening >= 0) options.masterListenFd = listening;
        const StorePointer whole = c10::make_intrusive<c10d::TCPStore>(host, options);
        *store = new StorePointer(c10::make_intrusive<c10d::PrefixStore>(prefix, whole));
    });
}

int ewe_store_set(void *store, const char *key, const char *bytes, size_t count, char *error, size_t room) {
    return guarded(error, room, [&] { store_of(store)->set(key, std::vector<uint8_t>(bytes, bytes + count)); });
}

int ewe_store_get_all(void *store, const char *key, int count, void (*each)(void *context, int index, const uint8_t *bytes, size_t count),
                      void *context, char *error, size_t room) {
    return guarded(error, room, [&] {
        std::vector<std::string> keys;
        for (int index = 0; index < count; index++) keys.push_back(key + std::to_string(index));
        const auto values = store_of(store)->multiGet(keys);
        for (int index = 0; index < count; index++) each(context, index, values[index].data(), values[index].size());
    });
}

int ewe_store_add(void *store, const char *key, int64_t amount, int64_t *sum, char *error, size_t room) {
    return guarded(error, room, [&] { *sum = store_of(store)->add(key, amount); });
}

int ewe_group_gloo(void *store, int rank, int size, const char *device, int is_interface, int64_t millis, const char *meeting, void **group, char *error,
                   size_t room) {
    return guarded(error, room, [&] {
        const auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(millis));
        const std::string name(device);
        options->devices.push_back(name.empty()     ? c10d::ProcessGroupGloo::createDefaultDevice()
                                   : is_interface ? c10d::ProcessGroupGloo::createDeviceForInterface(name)
                                                  : c10d::ProcessGroupGloo::createDeviceForHostname(name));
        const StorePointer own = c10::make_intrusive<c10d::PrefixStore>(meeting, store_of(store));
        *group = new GroupPointer(c10::make_intrusive<c10d::ProcessGroupGloo>(own, rank, size, options));
    });
}

int ewe_group_all_reduce(void *group, ewe_tensor x, int is_max, void **work, char *error, size_t room) {
    return begun(work, error, room, [&] {
        std::vector<at::Tensor> tensors{tensor(x)};
        c10d::AllreduceOptions options;
        options.reduceOp = is_max ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
        return group_of(group).allreduce(tensors, options);
    });
}

int ewe_group_broadcast(void *group, ewe_tensor x, int root, void **work, char *error, size_t room) {
    return begun(work, error, room, [&] {
        std::vector<at::Tensor> tensors{tensor(x)};
        c10d::BroadcastOptions options;
        options.rootRank = root;
        return group_of(group).broadcast(tensors, options);
    });
}

int ewe_group_all_gather(void *group, ewe_tensor whole, ewe_tensor part, void **work, char *error, size_t room) {
    return begun(work, error, room, [&] { return group_of(group)._allgather_base(tensor(whole), tensor(part)); });
}

int ewe_group_reduce_scatter(void *group, ewe_tensor part, ewe_tensor whole, void **work, char *error, size_t room) {
    return begun(work, error, room, [&] { return group_of(group)._reduce_scatter_base(tensor(part), tensor(whole)); });
}

int ewe_group_exchange(void *group, ewe_tensor to, ewe_tensor from, void **work, char *error, size_t room) {
    return begun(work, error, room, [&] {
        // No counts: equal parts.
        std::vector<int64_t> of_to, of_from;
        return group_of(group).alltoall_base(tensor(to), tensor(from), of_to, of_from);
    });
}

int ewe_group_barrier(void *group, void **work, char *error, size_t room) {
    return begun(work, error, room, [&] { return group_of(group).barrier(); });
}

int ewe_work_wait(void *work, int64_t millis, int *done, char *error, size_t room) {
    return guarded(error, room, [&] {
        c10d::Work &waited = **static_cast<WorkPointer *>(work);
        if (!waited.isCompleted()) {
            try {
                waited.wait(std::chrono::milliseconds(millis));
            } catch (const std::exception &) {
                // That may be the end of the time only.
                if (!waited.isCompleted()) {
                    *done = 0;
                    return;
                }
            }
        }
        if (const auto failure = waited.exception()) std::rethrow_exception(failure);
        *done = 1;
    });
}

void ewe_work_free(void *work) { delete static_cast<WorkPointer *>(work); }
}

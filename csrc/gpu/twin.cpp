// The GPU's kernels on the CPU: the same lines, every warp of a launch in its turn. For tests, and
// for `ewe selftest` to compare a GPU with.

#include <cstring>
#include <utility>

#define EWE_ALL

// The kernels' functions by name, as cuLaunchKernel has them: an array of pointers to arguments.
#define EWE_KERNEL(name, function, parameters, ...)                                                     \
    static void twin_##name(const ewe_gpu::Grid &grid, void **given) {                                  \
        using namespace ewe_gpu;                                                                        \
        unpacked<void parameters>(given, [&](auto... arguments) { function(grid, arguments...); });     \
    }

#include "portable.h"

namespace {

template <class Signature> struct Unpacked;
template <class... Types> struct Unpacked<void(Types...)> {
    template <class F, size_t... I> static void call(void **given, F f, std::index_sequence<I...>) {
        f(*static_cast<std::decay_t<Types> *>(given[I])...);
    }
    template <class F> static void call(void **given, F f) { call(given, f, std::index_sequence_for<Types...>()); }
};

template <class Signature, class F> void unpacked(void **given, F f) { Unpacked<Signature>::call(given, f); }

}  // namespace

using namespace ewe_gpu;
#include "kernels.h"
#undef EWE_KERNEL

namespace {

struct Entry {
    const char *name;
    void (*run)(const Grid &, void **);
};

#define EWE_KERNEL(name, function, parameters, ...) {#name, twin_##name},
const Entry ENTRIES[] = {
#include "kernels.h"
};

}  // namespace

extern "C" {

// Runs the kernel `name` in `blocks` thread blocks of `threads`. Returns 0, or 1 where there is
// none of that name.
int ewe_gpu_twin(const char *name, int64_t blocks, int64_t threads, void **arguments) {
    for (const Entry &entry : ENTRIES) {
        if (strcmp(entry.name, name) != 0) continue;
        const i64 warps = blocks * (threads / WARP);
        for (i64 warp = 0; warp < warps; warp++) entry.run({warp, warps}, arguments);
        return 0;
    }
    return 1;
}

// The name of kernel number `index`; null behind the last.
const char *ewe_gpu_twin_name(int64_t index) {
    return index < (int64_t)(sizeof ENTRIES / sizeof *ENTRIES) ? ENTRIES[index].name : nullptr;
}
}

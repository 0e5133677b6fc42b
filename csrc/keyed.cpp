// Random numbers as a function of a row's key. See shim.h.

#include "guarded.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <cstdint>

namespace {

// The finalizer of MurmurHash3 for 32 bits, by A. Appleby, in the public domain.
inline uint32_t mixed(uint32_t h) {
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    h ^= h >> 16;
    return h;
}

}  // namespace

extern "C" {

int ewe_keyed_uniform(ewe_tensor keys, int64_t salt, int64_t columns, ewe_tensor *numbers, char *error, size_t room) {
    return guarded(error, room, [&] {
        const at::Tensor key = tensor(keys).contiguous();
        const int64_t rows = key.numel();
        const int64_t *const from = key.const_data_ptr<int64_t>();
        at::Tensor all = at::empty({rows, columns}, at::kFloat);
        float *const to = all.mutable_data_ptr<float>();
        at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; row++) {
                const uint64_t own = static_cast<uint64_t>(from[row] ^ salt);
                const uint32_t low = static_cast<uint32_t>(own), high = static_cast<uint32_t>(own >> 32);
                float *const out = to + row * columns;
                for (int64_t column = 0; column < columns; column++) {
                    const uint32_t h = mixed(mixed(low ^ static_cast<uint32_t>(column) * 0x9e3779b9u) ^ high);
                    out[column] = static_cast<float>(h >> 8) * 0x1p-24f;
                }
            }
        });
        *numbers = new at::Tensor(std::move(all));
    });
}
}

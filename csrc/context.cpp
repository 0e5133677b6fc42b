// libtorch's settings for CUDA, and what NVIDIA's driver says of itself and its GPUs. See shim.h.
//
// Nothing here is called before a CUDA device is asked for: on the CPU, libtorch keeps its defaults.

#include "guarded.h"

#include <ATen/Context.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <stdexcept>
#include <string>

namespace {

// Functions and attributes of cuda.h, as in NVIDIA's CUDA Driver API reference. Every function
// returns 0, or a CUresult.
constexpr int MAJOR = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int MINOR = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
constexpr int VIRTUAL_MEMORY = 102;  // CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED

using Init = int (*)(unsigned flags);
using Number = int (*)(int *number);
using Text = int (*)(int status, const char **text);
using Get = int (*)(int *device, int index);
using Name = int (*)(char *name, int room, int device);
using Attribute = int (*)(int *value, int attribute, int device);
using Bytes = int (*)(size_t *bytes, int device);

// Returns the driver's library, which stays open, or null.
void *driver() {
    static void *const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return library;
}

// Returns a function of the driver's library. Throws if it has none of that name.
template <class F> F function(const char *name) {
    void *const found = driver() ? dlsym(driver(), name) : nullptr;
    if (!found) throw std::runtime_error(std::string("libcuda.so.1 has no ") + name);
    return reinterpret_cast<F>(found);
}

void check(const char *what, int status) {
    if (status != 0) throw std::runtime_error("CUDA error " + std::to_string(status) + " in " + what);
}

}  // namespace

extern "C" {

int ewe_cuda_driver(ewe_driver *state, char *error, size_t room) {
    return guarded(error, room, [&] {
        *state = {};
        if (!driver()) return;
        state->found = 1;
        check("cuDriverGetVersion", function<Number>("cuDriverGetVersion")(&state->version));
        state->status = function<Init>("cuInit")(0);
        if (state->status == 0) {
            check("cuDeviceGetCount", function<Number>("cuDeviceGetCount")(&state->count));
            return;
        }
        const char *text = nullptr;
        function<Text>("cuGetErrorString")(state->status, &text);
        snprintf(state->text, sizeof state->text, "%s", text ? text : "unknown error");
    });
}

int ewe_cuda_card(int index, ewe_card *card, char *error, size_t room) {
    return guarded(error, room, [&] {
        *card = {};
        int device = 0;
        size_t total = 0;
        check("cuDeviceGet", function<Get>("cuDeviceGet")(&device, index));
        check("cuDeviceGetName", function<Name>("cuDeviceGetName")(card->name, sizeof card->name, device));
        check("cuDeviceTotalMem", function<Bytes>("cuDeviceTotalMem_v2")(&total, device));
        card->total = static_cast<int64_t>(total);
        const auto attribute = function<Attribute>("cuDeviceGetAttribute");
        check("cuDeviceGetAttribute", attribute(&card->major, MAJOR, device));
        check("cuDeviceGetAttribute", attribute(&card->minor, MINOR, device));
        check("cuDeviceGetAttribute", attribute(&card->virtual_memory, VIRTUAL_MEMORY, device));
    });
}

int ewe_cuda_toolkit(int *version, char *error, size_t room) {
    return guarded(error, room, [&] { *version = static_cast<int>(at::detail::getCUDAHooks().versionCUDART()); });
}

int ewe_cuda_free(int index, int64_t *bytes, char *error, size_t room) {
    return guarded(error, room, [&] {
        at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
        auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
        *bytes = static_cast<int64_t>(allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(index)).first);
    });
}

int ewe_cuda_choose_attention(char *error, size_t room) {
    return guarded(error, room, [&] {
        auto &context = at::globalContext();
        context.setSDPUseFlash(true);
        context.setSDPUseMemEfficient(true);
        context.setSDPUseMath(true);
        context.setSDPUseCuDNN(false);
        context.setSDPUseFA3(false);
    });
}

int ewe_cuda_expandable_segments(char *error, size_t room) {
    return guarded(error, room, [&] { c10::CachingAllocator::setAllocatorSettings("expandable_segments:True,pinned_max_round_threshold_mb:1"); });
}

int ewe_cuda_numerics(int deterministic, int tf32, char *error, size_t room) {
    return guarded(error, room, [&] {
        auto &context = at::globalContext();
        // Flash attention's backward pass is deterministic only where `warn_only` is false.
        context.setDeterministicAlgorithms(deterministic != 0, /*warn_only=*/false);
        context.setDeterministicFillUninitializedMemory(false);
        context.setAllowTF32CuBLAS(tf32 != 0);
    });
}

int ewe_cuda_context(ewe_context *settings, char *error, size_t room) {
    return guarded(error, room, [&] {
        const auto &context = at::globalContext();
        *settings = {
            context.userEnabledFlashSDP(),
            context.userEnabledMemEfficientSDP(),
            context.userEnabledMathSDP(),
            context.userEnabledCuDNNSDP(),
            context.deterministicAlgorithms() && !context.deterministicAlgorithmsWarnOnly(),
            context.float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) == at::Float32Precision::TF32,
            c10::CachingAllocator::AcceleratorAllocatorConfig::use_expandable_segments(),
        };
    });
}
}

// Helpers of the shim's functions: tensors behind pointers, and exceptions as a code and a text.
#ifndef EWE_GUARDED_H
#define EWE_GUARDED_H

#include "shim.h"

#include <ATen/core/Tensor.h>
#include <cstdio>
#include <exception>

inline at::Tensor &tensor(ewe_tensor pointer) { return *static_cast<at::Tensor *>(pointer); }

// Runs `f`. No exception may reach Rust.
template <class F> int guarded(char *error, size_t room, F f) {
    try {
        f();
        return 0;
    } catch (const std::exception &problem) {
        snprintf(error, room, "%s", problem.what());
    } catch (...) {
        snprintf(error, room, "unknown error");
    }
    return 1;
}

#endif

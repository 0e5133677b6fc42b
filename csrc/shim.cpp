// See shim.h. Exceptions end here: none may reach Rust.

#include "shim.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <cstdio>
#include <exception>

namespace {

// For how many rows of input the order of weights is chosen. Measured at 1 to 2048 rows, it makes no difference.
constexpr int64_t ROWS = 32;

at::Tensor &tensor(ewe_tensor pointer) { return *static_cast<at::Tensor *>(pointer); }

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

template <class F> c10::TypedOperatorHandle<F> op(const char *name) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<F>();
}

}  // namespace

extern "C" {

int ewe_linear_pack(ewe_tensor weight, ewe_tensor *packed, char *error, size_t room) {
    return guarded(error, room, [&] {
        using Pack = at::Tensor(const at::Tensor &, std::optional<c10::SymInt>);
        static const auto pack = op<Pack>("mkldnn::_reorder_linear_weight");
        *packed = new at::Tensor(pack.call(tensor(weight), c10::SymInt(ROWS)));
    });
}

int ewe_linear_packed(ewe_tensor x, ewe_tensor packed, ewe_tensor bias, ewe_tensor *y, char *error, size_t room) {
    return guarded(error, room, [&] {
        using Linear = at::Tensor(const at::Tensor &, const at::Tensor &, const std::optional<at::Tensor> &,
                                  std::string_view, c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
        static const auto linear = op<Linear>("mkldnn::_linear_pointwise");
        std::optional<at::Tensor> shift;
        if (bias) shift = tensor(bias);
        *y = new at::Tensor(
            linear.call(tensor(x), tensor(packed), shift, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt));
    });
}

int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room) {
    return guarded(error, room, [&] { tensor(leaf).mutable_grad().reset(); });
}
}

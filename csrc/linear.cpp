// Products with the weights of a layer, in ways that libtorch's own operation lacks. See shim.h.
//
// Shapes: n rows of input, i features in, o features out.

#include "guarded.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of input that the packed order is chosen for. Measured at 1 to 2048 rows, it makes no
// difference.
constexpr int64_t ROWS = 32;

template <class F> c10::TypedOperatorHandle<F> op(const char *name) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<F>();
}

at::Tensor wide(const at::Tensor &x) { return x.to(at::kFloat); }

// Returns the input if the gradient of the weight will need it.
at::Tensor wanted(const at::Tensor &x_ni, const at::Tensor &weight_oi) { return weight_oi.requires_grad() ? x_ni : at::Tensor(); }

// Inputs and weights are kept in their own type and widened again in the backward pass.
struct LinearWidened : torch::autograd::Function<LinearWidened> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x_ni, const at::Tensor &weight_oi,
                              const std::optional<at::Tensor> &bias_o) {
        context->save_for_backward({wanted(x_ni, weight_oi), weight_oi});
        context->saved_data["bias"] = bias_o.has_value();
        const auto weight_io = wide(weight_oi).t();
        const auto y_no = bias_o ? at::addmm(wide(*bias_o), wide(x_ni), weight_io) : at::mm(wide(x_ni), weight_io);
        return y_no.to(x_ni.scalar_type());
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const at::Tensor &x_ni = kept[0], &weight_oi = kept[1];
        const auto gradient_no = wide(gradients[0]);
        variable_list of(3);
        if (context->needs_input_grad(0)) of[0] = at::mm(gradient_no, wide(weight_oi)).to(gradients[0].scalar_type());
        if (context->needs_input_grad(1)) of[1] = at::mm(gradient_no.t(), wide(x_ni)).to(weight_oi.scalar_type());
        const bool bias = context->saved_data["bias"].toBool();
        if (bias && context->needs_input_grad(2)) of[2] = gradient_no.sum(0).to(weight_oi.scalar_type());
        return of;
    }
};

// Allocates what a product does, without computing it.
struct LinearHollow : torch::autograd::Function<LinearHollow> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x_ni, const at::Tensor &weight_oi,
                              const std::optional<at::Tensor> &bias_o) {
        context->save_for_backward({wanted(x_ni, weight_oi), weight_oi});
        context->saved_data["bias"] = bias_o.has_value();
        return at::zeros({x_ni.size(0), weight_oi.size(0)}, x_ni.options());
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        variable_list of(3);
        if (context->needs_input_grad(0)) of[0] = at::zeros({gradients[0].size(0), kept[1].size(1)}, gradients[0].options());
        if (context->needs_input_grad(1)) of[1] = at::zeros(kept[1].sizes(), kept[1].options());
        const bool bias = context->saved_data["bias"].toBool();
        if (bias && context->needs_input_grad(2)) of[2] = at::zeros({kept[1].size(0)}, kept[1].options());
        return of;
    }
};

std::optional<at::Tensor> optional(ewe_tensor pointer) {
    return pointer ? std::make_optional(tensor(pointer)) : std::nullopt;
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
        *y = new at::Tensor(linear.call(tensor(x), tensor(packed), optional(bias), "none",
                                        c10::List<std::optional<at::Scalar>>(), std::nullopt));
    });
}

int ewe_linear_hollow(ewe_tensor x, ewe_tensor weight, ewe_tensor bias, ewe_tensor *y, char *error, size_t room) {
    return guarded(error, room, [&] {
        *y = new at::Tensor(LinearHollow::apply(tensor(x), tensor(weight), optional(bias)));
    });
}

int ewe_linear_widened(ewe_tensor x, ewe_tensor weight, ewe_tensor bias, ewe_tensor *y, char *error, size_t room) {
    return guarded(error, room, [&] {
        *y = new at::Tensor(LinearWidened::apply(tensor(x), tensor(weight), optional(bias)));
    });
}
}

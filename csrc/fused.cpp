// What training computes on the CPU between matrix products, recorded for autograd as one operation
// each. libtorch composes the same of up to ten, whose backward passes read and write memory again.
// See shim.h.
//
// Shapes: `n` tokens, `d` features, `h` heads, `r` rotated features.

#include "backward.h"
#include "guarded.h"
#include "kernels.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int type_of(const at::Tensor &x) {
    TORCH_CHECK(x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16), "fp32 or bf16 on the CPU");
    return x.scalar_type() == at::kBFloat16 ? EWE_BF16 : EWE_FP32;
}

// Checks that the kernels can read tensors: contiguous, and of the first one's type.
void check_alike(std::initializer_list<at::Tensor> tensors) {
    const auto type = tensors.begin()->scalar_type();
    for (const at::Tensor &x : tensors) TORCH_CHECK(x.is_contiguous() && x.scalar_type() == type && x.device().is_cpu(), "contiguous and alike");
}

// A gradient as the kernels read it.
at::Tensor readable(const at::Tensor &gradient, const at::Tensor &like) { return gradient.to(like.scalar_type()).contiguous(); }

// Computes norm(x_nd), plus residual_nd unless it is null, and keeps what the way back needs.
at::Tensor normed(AutogradContext *context, const at::Tensor &x_nd, const at::Tensor &weight_d, const at::Tensor *residual_nd, int64_t kind,
                  double eps) {
    const int64_t d = weight_d.numel();
    const at::Tensor &behind_nd = residual_nd ? *residual_nd : x_nd;
    TORCH_CHECK(d > 0 && x_nd.size(-1) == d && behind_nd.sizes() == x_nd.sizes(), "a weight for each feature");
    check_alike({x_nd, weight_d, behind_nd});
    auto out_nd = at::empty_like(x_nd);
    ewe_kernels_here()->rms_norm(type_of(x_nd), static_cast<int>(kind), x_nd.const_data_ptr(), weight_d.const_data_ptr(),
                                 residual_nd ? residual_nd->const_data_ptr() : nullptr, out_nd.mutable_data_ptr(), x_nd.numel() / d, d,
                                 static_cast<float>(eps));
    context->save_for_backward({x_nd, weight_d});
    context->saved_data["kind"] = kind;
    context->saved_data["eps"] = eps;
    return out_nd;
}

// The gradient of a norm's input.
at::Tensor before_norm(AutogradContext *context, const at::Tensor &gradient) {
    const auto kept = context->get_saved_variables();
    const at::Tensor &x_nd = kept[0], &weight_d = kept[1];
    const auto gradient_nd = readable(gradient, x_nd);
    const int64_t d = weight_d.numel();
    auto x_gradient_nd = at::empty_like(x_nd);
    ewe_backward_here()->rms_norm(type_of(x_nd), static_cast<int>(context->saved_data["kind"].toInt()), gradient_nd.const_data_ptr(),
                                  x_nd.const_data_ptr(), weight_d.const_data_ptr(), x_gradient_nd.mutable_data_ptr(), x_nd.numel() / d, d,
                                  static_cast<float>(context->saved_data["eps"].toDouble()));
    return x_gradient_nd;
}

// norm(x_nd). The weight is not trained.
struct RmsNorm : torch::autograd::Function<RmsNorm> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x_nd, const at::Tensor &weight_d, int64_t kind, double eps) {
        return normed(context, x_nd, weight_d, nullptr, kind, eps);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        return {before_norm(context, gradients[0]), {}, {}, {}};
    }
};

// residual_nd + norm(x_nd). A function of its own, since autograd takes no undefined tensor.
struct AddedRmsNorm : torch::autograd::Function<AddedRmsNorm> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x_nd, const at::Tensor &weight_d, const at::Tensor &residual_nd,
                              int64_t kind, double eps) {
        return normed(context, x_nd, weight_d, &residual_nd, kind, eps);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        return {before_norm(context, gradients[0]), {}, gradients[0], {}, {}};
    }
};

// activation(gate) · up.
struct Gated : torch::autograd::Function<Gated> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &gate, const at::Tensor &up, int64_t activation) {
        TORCH_CHECK(gate.sizes() == up.sizes(), "gate and up have one shape");
        check_alike({gate, up});
        auto out = at::empty_like(gate);
        ewe_kernels_here()->gated(type_of(gate), static_cast<int>(activation), gate.const_data_ptr(), up.const_data_ptr(), out.mutable_data_ptr(),
                                  gate.numel());
        context->save_for_backward({gate, up});
        context->saved_data["activation"] = activation;
        return out;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const at::Tensor &gate = kept[0], &up = kept[1];
        const auto gradient = readable(gradients[0], gate);
        auto gate_gradient = at::empty_like(gate), up_gradient = at::empty_like(up);
        ewe_backward_here()->gated(type_of(gate), static_cast<int>(context->saved_data["activation"].toInt()), gradient.const_data_ptr(),
                                   gate.const_data_ptr(), up.const_data_ptr(), gate_gradient.mutable_data_ptr(),
                                   up_gradient.mutable_data_ptr(), gate.numel());
        return {gate_gradient, up_gradient, {}};
    }
};

// Heads with their first features rotated. The way back is the same rotation by the negative angle:
// sin_nr has opposite signs at the two features of a pair.
struct Rotated : torch::autograd::Function<Rotated> {
    static at::Tensor turned(const at::Tensor &x_nhd, const at::Tensor &cos_nr, const at::Tensor &sin_nr, int64_t pairing) {
        const int64_t n = x_nhd.size(0), h = x_nhd.size(1), d = x_nhd.size(2), r = cos_nr.size(1);
        TORCH_CHECK(cos_nr.size(0) == n && sin_nr.sizes() == cos_nr.sizes() && r <= d && r % 2 == 0, "angles for each token");
        check_alike({x_nhd, cos_nr, sin_nr});
        auto out_nhd = at::empty_like(x_nhd);
        ewe_kernels_here()->rope(type_of(x_nhd), static_cast<int>(pairing), x_nhd.const_data_ptr(), cos_nr.const_data_ptr(),
                                 sin_nr.const_data_ptr(), out_nhd.mutable_data_ptr(), n, h, d, r);
        return out_nhd;
    }

    static at::Tensor forward(AutogradContext *context, const at::Tensor &x_nhd, const at::Tensor &cos_nr, const at::Tensor &sin_nr,
                              int64_t pairing) {
        context->save_for_backward({cos_nr, sin_nr});
        context->saved_data["pairing"] = pairing;
        return turned(x_nhd, cos_nr, sin_nr, pairing);
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const auto gradient_nhd = readable(gradients[0], kept[0]);
        return {turned(gradient_nhd, kept[0], kept[1].neg(), context->saved_data["pairing"].toInt()), {}, {}, {}};
    }
};

}  // namespace

extern "C" {

int ewe_rms_norm_recorded(ewe_tensor x, ewe_tensor weight, ewe_tensor residual, int kind, double eps, ewe_tensor *out, char *error,
                          size_t room) {
    return guarded(error, room, [&] {
        const auto where = static_cast<int64_t>(kind);
        *out = new at::Tensor(residual ? AddedRmsNorm::apply(tensor(x), tensor(weight), tensor(residual), where, eps)
                                       : RmsNorm::apply(tensor(x), tensor(weight), where, eps));
    });
}

int ewe_gated_recorded(ewe_tensor gate, ewe_tensor up, int activation, ewe_tensor *out, char *error, size_t room) {
    return guarded(error, room, [&] { *out = new at::Tensor(Gated::apply(tensor(gate), tensor(up), static_cast<int64_t>(activation))); });
}

int ewe_rope_recorded(ewe_tensor x, ewe_tensor cos, ewe_tensor sin, int pairing, ewe_tensor *out, char *error, size_t room) {
    return guarded(error, room,
                   [&] { *out = new at::Tensor(Rotated::apply(tensor(x), tensor(cos), tensor(sin), static_cast<int64_t>(pairing))); });
}
}

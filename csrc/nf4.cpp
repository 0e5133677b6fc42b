// Products with weights in 4 bits. See shim.h.
//
// Shapes: n rows of input, i features in, o features out, b blocks of 64 weights.

#include "guarded.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t BLOCK = 64;
// Weights that are dequantized at once: on the CPU few, so that they stay in a cache; elsewhere
// many, since each piece is some launches.
int64_t piece(const at::Tensor &codes) { return codes.is_cpu() ? 1 << 18 : 1 << 24; }

// The kernel of csrc/gpu/nf4.h, where the program has registered it.
ewe_nf4_make made_by = nullptr;

// Whether the kernel made the weights on a GPU.
bool by_kernel(const at::Tensor &codes, const at::Tensor &scales_b, const at::Tensor &table, at::Tensor &weight) {
    const bool fits = made_by && weight.is_cuda() && (weight.scalar_type() == at::kBFloat16 || weight.scalar_type() == at::kFloat) &&
                      codes.is_contiguous() && scales_b.is_contiguous() && table.is_contiguous();
    return fits && made_by(weight.get_device(), codes.data_ptr(), scales_b.data_ptr(), table.data_ptr(), weight.data_ptr(), weight.numel(),
                           weight.scalar_type() == at::kBFloat16) == 0;
}

at::Tensor values(const at::Tensor &codes, const at::Tensor &scales_b, const at::Tensor &table, int64_t outputs, int64_t inputs, at::ScalarType type) {
    const int64_t count = outputs * inputs;
    TORCH_CHECK(2 * codes.numel() == count && scales_b.numel() == (count + BLOCK - 1) / BLOCK, codes.numel(), " bytes and ", scales_b.numel(),
                " scales of ", outputs, " times ", inputs, " weights");
    auto weight = at::empty({count}, codes.options().dtype(type));
    if (by_kernel(codes, scales_b, table, weight)) return weight.view({outputs, inputs});
    const int64_t most = piece(codes);
    for (int64_t start = 0; start < count; start += most) {
        const int64_t length = std::min(most, count - start), whole = length / BLOCK * BLOCK, rest = length - whole;
        auto part = table.index_select(0, codes.narrow(0, start / 2, length / 2).to(at::kInt)).view({-1});
        const int64_t first = start / BLOCK;
        part.narrow(0, 0, whole).view({-1, BLOCK}).mul_(scales_b.narrow(0, first, whole / BLOCK).unsqueeze(1));
        if (rest > 0) part.narrow(0, whole, rest).mul_(scales_b.narrow(0, first + whole / BLOCK, 1));
        weight.narrow(0, start, length).copy_(part);
    }
    return weight.view({outputs, inputs});
}

struct LinearNf4 : torch::autograd::Function<LinearNf4> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &x_ni, const at::Tensor &codes, const at::Tensor &scales_b,
                              const at::Tensor &table, int64_t outputs, const std::optional<at::Tensor> &bias_o, bool widen) {
        const auto type = widen ? at::kFloat : x_ni.scalar_type();
        context->save_for_backward({codes, scales_b, table});
        context->saved_data["outputs"] = outputs;
        context->saved_data["inputs"] = x_ni.size(1);
        context->saved_data["widen"] = widen;
        const auto weight_io = values(codes, scales_b, table, outputs, x_ni.size(1), type).t();
        const auto x = x_ni.to(type);
        return (bias_o ? at::addmm(bias_o->to(type), x, weight_io) : at::mm(x, weight_io)).to(x_ni.scalar_type());
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const int64_t outputs = context->saved_data["outputs"].toInt(), inputs = context->saved_data["inputs"].toInt();
        const auto given = gradients[0].scalar_type(), type = context->saved_data["widen"].toBool() ? at::kFloat : given;
        variable_list of(7);
        if (context->needs_input_grad(0)) {
            of[0] = at::mm(gradients[0].to(type), values(kept[0], kept[1], kept[2], outputs, inputs, type)).to(given);
        }
        return of;
    }
};

}  // namespace

extern "C" {

void ewe_nf4_use(ewe_nf4_make make) { made_by = make; }

int ewe_nf4_values(ewe_tensor codes, ewe_tensor scales, ewe_tensor table, int64_t outputs, int64_t inputs, ewe_tensor like, ewe_tensor *weight,
                   char *error, size_t room) {
    return guarded(error, room, [&] {
        *weight = new at::Tensor(values(tensor(codes), tensor(scales), tensor(table), outputs, inputs, tensor(like).scalar_type()));
    });
}

int ewe_linear_nf4(ewe_tensor x, ewe_tensor codes, ewe_tensor scales, ewe_tensor table, int64_t outputs, ewe_tensor bias, int widen,
                   ewe_tensor *y, char *error, size_t room) {
    return guarded(error, room, [&] {
        const std::optional<at::Tensor> shift = bias ? std::make_optional(tensor(bias)) : std::nullopt;
        *y = new at::Tensor(LinearNf4::apply(tensor(x), tensor(codes), tensor(scales), tensor(table), outputs, shift, widen != 0));
    });
}
}

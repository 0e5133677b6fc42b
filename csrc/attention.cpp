// Attention of sequences that share a row, and of sequences that share what they begin with. See shim.h.
//
// Shapes: t tokens of the row, n of a branch, l keys that it sees, h query heads, kv key/value heads, d features of a head.

#include "guarded.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Branch {
    int64_t offset;
    int64_t length;
    // Tokens before it in its sequences.
    int64_t start;
    // What those are: branches from a sequence's first to this one.
    std::vector<int64_t> chain;
};

// Numbers in pairs, length and what it follows, as autograd can keep them.
std::vector<Branch> branches_of(const std::vector<int64_t> &pairs) {
    std::vector<Branch> branches;
    int64_t offset = 0;
    for (size_t at = 0; at < pairs.size(); at += 2) {
        const int64_t length = pairs[at], after = pairs[at + 1];
        const auto index = static_cast<int64_t>(branches.size());
        TORCH_CHECK(length > 0 && after < index, "branch ", index, " of ", length, " tokens follows branch ", after);
        Branch branch{offset, length, 0, {}};
        if (after >= 0) {
            const Branch &before = branches[after];
            branch.start = before.start + before.length;
            branch.chain = before.chain;
        }
        branch.chain.push_back(index);
        branches.push_back(std::move(branch));
        offset += length;
    }
    return branches;
}

struct Weighing {
    double scale;
    int64_t window;

    // Keys before every query's window need not be read.
    int64_t from(const Branch &branch) const { return window > 0 ? std::max<int64_t>(branch.start + 1 - window, 0) : 0; }

    // 0 or -inf, [1, 1, n, l], where causality from the first key on is not the whole rule.
    std::optional<at::Tensor> mask(const Branch &branch, at::ScalarType type) const {
        const int64_t end = branch.start + branch.length;
        if (branch.start == 0 && (window == 0 || end <= window)) return std::nullopt;
        const auto keys_l = at::arange(from(branch), end);
        const auto queries_n1 = at::arange(branch.start, end).unsqueeze(1);
        auto hidden_nl = keys_l.gt(queries_n1);
        if (window > 0) hidden_nl = hidden_nl.logical_or(keys_l.le(queries_n1 - window));
        const auto zero = at::zeros(hidden_nl.sizes(), at::TensorOptions(type));
        return zero.masked_fill(hidden_nl, -std::numeric_limits<double>::infinity()).unsqueeze(0).unsqueeze(0);
    }
};

// [n, h, d] of a row as the [1, h, n, d] that attention takes. Only a view.
at::Tensor heads_first(const at::Tensor &x_nhd) { return x_nhd.unsqueeze(0).transpose(1, 2); }

// Of the row, what a branch sees: in parts, from its sequences' first branch to itself.
void add_seen(std::vector<at::Tensor> &parts, const at::Tensor &x_tkd, const std::vector<Branch> &branches, const Branch &branch) {
    for (const int64_t index : branch.chain) parts.push_back(x_tkd.narrow(0, branches[index].offset, branches[index].length));
}

// What both ways keep for the backward pass besides tensors.
void keep(AutogradContext *context, const std::vector<int64_t> &pairs, double scale, int64_t window) {
    context->saved_data["branches"] = pairs;
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
}

// What attention of one branch takes.
struct Inputs {
    const std::vector<Branch> &branches;
    const Branch &branch;
    int64_t from;
    at::ScalarType type;

    // Of its own tokens, [1, h, n, d].
    at::Tensor own(const at::Tensor &x_thd) const { return heads_first(x_thd.narrow(0, branch.offset, branch.length)).to(type); }

    // The keys or values of all that it sees, [1, h, l, d]: a copy, unless that is nothing but itself.
    at::Tensor seen(const at::Tensor &x_tkd, int64_t heads) const {
        std::vector<at::Tensor> parts;
        add_seen(parts, x_tkd, branches, branch);
        at::Tensor x_lkd = parts.size() == 1 ? parts[0] : at::cat(parts, 0);
        x_lkd = x_lkd.narrow(0, from, x_lkd.size(0) - from).to(type);
        const int64_t groups = heads / x_tkd.size(1);
        return heads_first(groups == 1 ? x_lkd : x_lkd.repeat_interleave(groups, 1));
    }
};

// Adds what a branch gives of the gradient of what it saw, [1, h, l, d], to that of the row.
void give_back(const at::Tensor &gradient_1hld, at::Tensor &sum_tkd, const std::vector<Branch> &branches, const Branch &branch, int64_t from) {
    auto x_lhd = gradient_1hld.squeeze(0).transpose(0, 1);
    const int64_t kv = sum_tkd.size(1), groups = x_lhd.size(1) / kv;
    if (groups > 1) x_lhd = x_lhd.unflatten(1, {kv, groups}).sum(2, false, sum_tkd.scalar_type());
    for (const int64_t index : branch.chain) {
        const Branch &part = branches[index];
        const int64_t begin = std::max(part.start, from), end = part.start + part.length;
        if (begin >= end) continue;
        sum_tkd.narrow(0, part.offset + begin - part.start, end - begin).add_(x_lhd.narrow(0, begin - from, end - begin));
    }
}

// Of what a branch sees, autograd would keep the copy. Here it is put together once more when its gradient is due.
struct AttendBranches : torch::autograd::Function<AttendBranches> {
    static at::Tensor forward(AutogradContext *context, const at::Tensor &q_thd, const at::Tensor &k_tkd, const at::Tensor &v_tkd,
                              const std::vector<int64_t> &pairs, double scale, int64_t window, bool widen) {
        const auto branches = branches_of(pairs);
        const Weighing weighing{scale, window};
        const int64_t heads = q_thd.size(1);
        auto out_thd = at::empty(q_thd.sizes(), q_thd.options());
        const auto type = widen ? at::kFloat : q_thd.scalar_type();
        variable_list kept{q_thd, k_tkd, v_tkd, out_thd};
        for (const Branch &branch : branches) {
            const Inputs inputs{branches, branch, weighing.from(branch), type};
            const auto mask = weighing.mask(branch, type);
            auto [out_1hnd, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
                inputs.own(q_thd), inputs.seen(k_tkd, heads), inputs.seen(v_tkd, heads), 0.0, !mask.has_value(), mask, scale);
            heads_first(out_thd.narrow(0, branch.offset, branch.length)).copy_(out_1hnd);
            kept.push_back(logsumexp);
        }
        context->save_for_backward(std::move(kept));
        keep(context, pairs, scale, window);
        context->saved_data["widen"] = widen;
        return out_thd;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const at::Tensor &q_thd = kept[0], &k_tkd = kept[1], &v_tkd = kept[2], &out_thd = kept[3];
        const auto branches = branches_of(context->saved_data["branches"].toIntVector());
        const Weighing weighing{context->saved_data["scale"].toDouble(), context->saved_data["window"].toInt()};
        const auto type = context->saved_data["widen"].toBool() ? at::kFloat : q_thd.scalar_type();
        const int64_t heads = q_thd.size(1);
        const auto gradient_thd = gradients[0].contiguous();
        auto q_gradient_thd = at::empty(q_thd.sizes(), q_thd.options());
        // What many branches share is summed in fp32, whatever the type.
        const bool shares = std::any_of(branches.begin(), branches.end(), [](const Branch &branch) { return branch.chain.size() > 1; });
        const auto summed = k_tkd.options().dtype(shares ? at::kFloat : k_tkd.scalar_type());
        auto k_gradient_tkd = at::zeros(k_tkd.sizes(), summed), v_gradient_tkd = at::zeros(v_tkd.sizes(), summed);
        for (size_t index = 0; index < branches.size(); index++) {
            const Branch &branch = branches[index];
            const Inputs inputs{branches, branch, weighing.from(branch), type};
            const auto mask = weighing.mask(branch, type);
            const auto [q_part, k_part, v_part] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
                inputs.own(gradient_thd), inputs.own(q_thd), inputs.seen(k_tkd, heads), inputs.seen(v_tkd, heads), inputs.own(out_thd),
                kept[4 + index], 0.0, !mask.has_value(), mask, weighing.scale);
            heads_first(q_gradient_thd.narrow(0, branch.offset, branch.length)).copy_(q_part);
            give_back(k_part, k_gradient_tkd, branches, branch, inputs.from);
            give_back(v_part, v_gradient_tkd, branches, branch, inputs.from);
        }
        const auto given = k_tkd.scalar_type();
        return {q_gradient_thd, k_gradient_tkd.to(given), v_gradient_tkd.to(given), {}, {}, {}, {}};
    }
};

// The same on CUDA in 16 bits, all branches at once, each with its own keys (Dao 2023): the last key of a branch belongs to its last
// query, which is how flash attention aligns them. What a branch sees is gathered once more for the backward pass, too.
struct AttendFlash : torch::autograd::Function<AttendFlash> {
    // Of all branches, one behind the other, [l, kv, d].
    static at::Tensor gathered(const at::Tensor &x_tkd, const std::vector<Branch> &branches) {
        std::vector<at::Tensor> parts;
        for (const Branch &branch : branches) add_seen(parts, x_tkd, branches, branch);
        return at::cat(parts, 0);
    }

    // The sum of what gathered keys or values got, in fp32, in the order of the branches.
    static at::Tensor summed(const at::Tensor &gradient_lkd, const at::Tensor &x_tkd, const std::vector<Branch> &branches) {
        auto sum_tkd = at::zeros(x_tkd.sizes(), x_tkd.options().dtype(at::kFloat));
        int64_t at = 0;
        for (const Branch &branch : branches) {
            for (const int64_t index : branch.chain) {
                const Branch &part = branches[index];
                sum_tkd.narrow(0, part.offset, part.length).add_(gradient_lkd.narrow(0, at, part.length));
                at += part.length;
            }
        }
        return sum_tkd.to(x_tkd.scalar_type());
    }

    // A token sees itself and `window - 1` before it.
    static std::optional<int64_t> left(int64_t window) { return window > 0 ? std::make_optional(window - 1) : std::nullopt; }

    static at::Tensor forward(AutogradContext *context, const at::Tensor &q_thd, const at::Tensor &k_tkd, const at::Tensor &v_tkd,
                              const at::Tensor &ends_q, const at::Tensor &ends_k, const std::vector<int64_t> &pairs, double scale,
                              int64_t window) {
        const auto branches = branches_of(pairs);
        int64_t most_q = 0, most_k = 0;
        for (const Branch &branch : branches) {
            most_q = std::max(most_q, branch.length);
            most_k = std::max(most_k, branch.start + branch.length);
        }
        const auto [out_thd, logsumexp, random, unused, debug] = at::_flash_attention_forward(
            q_thd, gathered(k_tkd, branches), gathered(v_tkd, branches), ends_q, ends_k, most_q, most_k, /*dropout_p=*/0.0,
            /*is_causal=*/true, /*return_debug_mask=*/false, scale, left(window), /*window_size_right=*/0);
        context->save_for_backward({q_thd, k_tkd, v_tkd, out_thd, logsumexp, random, unused, ends_q, ends_k});
        keep(context, pairs, scale, window);
        context->saved_data["most_q"] = most_q;
        context->saved_data["most_k"] = most_k;
        return out_thd;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const auto branches = branches_of(context->saved_data["branches"].toIntVector());
        const auto [q_gradient, k_gradient, v_gradient] = at::_flash_attention_backward(
            gradients[0].contiguous(), kept[0], gathered(kept[1], branches), gathered(kept[2], branches), kept[3], kept[4], kept[7], kept[8],
            context->saved_data["most_q"].toInt(), context->saved_data["most_k"].toInt(), /*dropout_p=*/0.0, /*is_causal=*/true, kept[5],
            kept[6], context->saved_data["scale"].toDouble(), left(context->saved_data["window"].toInt()), /*window_size_right=*/0);
        return {q_gradient, summed(k_gradient, kept[1], branches), summed(v_gradient, kept[2], branches), {}, {}, {}, {}, {}};
    }
};

// Branches as autograd can keep them, checked to be all of the row.
std::vector<int64_t> pairs_of(const ewe_branch *branches, size_t count, const at::Tensor &q_thd, const at::Tensor &k_tkd) {
    std::vector<int64_t> pairs;
    int64_t tokens = 0;
    for (size_t at = 0; at < count; at++) {
        pairs.insert(pairs.end(), {branches[at].length, branches[at].after});
        tokens += branches[at].length;
    }
    TORCH_CHECK(tokens == q_thd.size(0) && tokens == k_tkd.size(0), "branches of ", tokens, " tokens in a row of ", q_thd.size(0));
    return pairs;
}

}  // namespace

extern "C" {

int ewe_attend_branches(ewe_tensor q, ewe_tensor k, ewe_tensor v, const ewe_branch *branches, size_t count, double scale, int64_t window,
                        int widen, ewe_tensor *out, char *error, size_t room) {
    return guarded(error, room, [&] {
        const auto pairs = pairs_of(branches, count, tensor(q), tensor(k));
        *out = new at::Tensor(AttendBranches::apply(tensor(q), tensor(k), tensor(v), pairs, scale, window, widen != 0));
    });
}

int ewe_attend_flash(ewe_tensor q, ewe_tensor k, ewe_tensor v, ewe_tensor ends_q, ewe_tensor ends_k, const ewe_branch *branches, size_t count,
                     double scale, int64_t window, ewe_tensor *out, char *error, size_t room) {
    return guarded(error, room, [&] {
        const auto pairs = pairs_of(branches, count, tensor(q), tensor(k));
        *out = new at::Tensor(AttendFlash::apply(tensor(q), tensor(k), tensor(v), tensor(ends_q), tensor(ends_k), pairs, scale, window));
    });
}
}

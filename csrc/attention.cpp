// Attention of sequences that share a row and their prefixes. See shim.h.
//
// Shapes: t tokens of the row, n of a branch, l keys that it sees, h query heads, kv key/value
// heads, d features of a head.

#include "guarded.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Branch {
    int64_t offset;
    int64_t length;
    // Tokens before it in its sequences.
    int64_t start;
    // The branches from the first of its sequences to itself.
    std::vector<int64_t> chain;
};

// Reads branches from a list of pairs, length and index of the branch before, which autograd can
// keep.
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

    // First key that some query of the branch sees; earlier keys need not be read.
    int64_t from(const Branch &branch) const { return window > 0 ? std::max<int64_t>(branch.start + 1 - window, 0) : 0; }

    // Mask of 0 or -inf, [1, 1, n, l]; none where causality from the first key on is the whole
    // rule.
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

// Views [n, h, d] of a row as the [1, h, n, d] that attention takes.
at::Tensor heads_first(const at::Tensor &x_nhd) { return x_nhd.unsqueeze(0).transpose(1, 2); }

// Appends what a branch sees of the row, in parts, from the first branch of its sequences to
// itself.
void add_seen(std::vector<at::Tensor> &parts, const at::Tensor &x_tkd, const std::vector<Branch> &branches, const Branch &branch) {
    for (const int64_t index : branch.chain) parts.push_back(x_tkd.narrow(0, branches[index].offset, branches[index].length));
}

// Saves what both functions need in the backward pass besides tensors.
void keep(AutogradContext *context, const std::vector<int64_t> &pairs, double scale, int64_t window) {
    context->saved_data["branches"] = pairs;
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
}

// The inputs of attention of one branch.
struct Inputs {
    const std::vector<Branch> &branches;
    const Branch &branch;
    int64_t from;
    at::ScalarType type;

    // Its own tokens, [1, h, n, d].
    at::Tensor own(const at::Tensor &x_thd) const { return heads_first(x_thd.narrow(0, branch.offset, branch.length)).to(type); }

    // The keys or values that it sees, [1, h, l, d]: a copy, unless it sees only its own.
    at::Tensor seen(const at::Tensor &x_tkd, int64_t heads) const {
        std::vector<at::Tensor> parts;
        add_seen(parts, x_tkd, branches, branch);
        at::Tensor x_lkd = parts.size() == 1 ? parts[0] : at::cat(parts, 0);
        x_lkd = x_lkd.narrow(0, from, x_lkd.size(0) - from).to(type);
        const int64_t groups = heads / x_tkd.size(1);
        return heads_first(groups == 1 ? x_lkd : x_lkd.repeat_interleave(groups, 1));
    }
};

// Adds the gradient of what a branch saw, [1, h, l, d], to the gradient of the row.
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

// Autograd would keep the copy of the keys and values that each branch sees. This function gathers
// them again in the backward pass.
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
        // Gradients that several branches share are summed in fp32, whatever the type.
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

// The same on CUDA in 16 bits, all branches at once, each with its own keys (Dao 2023): the last
// key of a branch belongs to its last query, which is how flash attention aligns them. Keys and
// values that branches share are gathered again in the backward pass, too. Only the last stride of
// queries, keys and values must be 1. Arguments as in ATen/ops/_flash_attention_forward.h and
// _flash_attention_backward.h of libtorch 2.13.
struct AttendFlash : torch::autograd::Function<AttendFlash> {
    // Whether some branch follows another. If none does, the row has the keys of all branches in
    // their order already, and cumulative lengths are all that attention needs.
    static bool shares(const std::vector<Branch> &branches) {
        return std::any_of(branches.begin(), branches.end(), [](const Branch &branch) { return branch.chain.size() > 1; });
    }

    // Keys or values that the branches see, one branch after the other, [l, kv, d]: the row itself
    // where nothing is shared.
    static at::Tensor gathered(const at::Tensor &x_tkd, const std::vector<Branch> &branches) {
        if (!shares(branches)) return x_tkd;
        std::vector<at::Tensor> parts;
        for (const Branch &branch : branches) add_seen(parts, x_tkd, branches, branch);
        return at::cat(parts, 0);
    }

    // Sums the gradients of gathered keys or values, in fp32, in the order of the branches. Where
    // nothing is shared there is nothing to sum.
    static at::Tensor summed(const at::Tensor &gradient_lkd, const at::Tensor &x_tkd, const std::vector<Branch> &branches) {
        if (!shares(branches)) return gradient_lkd;
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

    // A token sees itself and `window - 1` tokens before it.
    static std::optional<int64_t> left(int64_t window) { return window > 0 ? std::make_optional(window - 1) : std::nullopt; }

    // What flash attention computes of ragged sequences, in libtorch's operations and fp32: for
    // tests of all but the two calls.
    static at::Tensor plain(const at::Tensor &q_thd, const at::Tensor &k_lkd, const at::Tensor &v_lkd, const at::Tensor &ends_q,
                            const at::Tensor &ends_k, double scale, int64_t window) {
        const auto *end_q = ends_q.const_data_ptr<int32_t>(), *end_k = ends_k.const_data_ptr<int32_t>();
        const int64_t groups = q_thd.size(1) / k_lkd.size(1);
        std::vector<at::Tensor> outputs;
        for (int64_t i = 0; i + 1 < ends_q.size(0); i++) {
            const int64_t count = end_q[i + 1] - end_q[i], keys = end_k[i + 1] - end_k[i];
            const auto seen = [&](const at::Tensor &x_lkd) {
                return x_lkd.narrow(0, end_k[i], keys).transpose(0, 1).to(at::kFloat).repeat_interleave(groups, 0);
            };
            const auto q_hnd = q_thd.narrow(0, end_q[i], count).transpose(0, 1).to(at::kFloat);
            const auto keys_l = at::arange(keys), queries_n1 = at::arange(keys - count, keys).unsqueeze(1);
            auto hidden_nl = keys_l.gt(queries_n1);
            if (window > 0) hidden_nl = hidden_nl.logical_or(keys_l.le(queries_n1 - window));
            const auto scores_hnl = at::matmul(q_hnd, seen(k_lkd).transpose(1, 2)).mul(scale);
            const auto weights_hnl = at::softmax(scores_hnl.masked_fill(hidden_nl, -std::numeric_limits<double>::infinity()), -1);
            outputs.push_back(at::matmul(weights_hnl, seen(v_lkd)).transpose(0, 1));
        }
        return at::cat(outputs, 0).to(q_thd.scalar_type());
    }

    // Gradients of `plain`, by computing it again.
    static variable_list plain_backward(const at::Tensor &gradient_thd, const variable_list &inputs, const at::Tensor &ends_q,
                                        const at::Tensor &ends_k, double scale, int64_t window) {
        at::AutoGradMode recorded(true);
        variable_list leaves;
        for (const at::Tensor &input : inputs) leaves.push_back(input.detach().requires_grad_(true));
        const auto out_thd = plain(leaves[0], leaves[1], leaves[2], ends_q, ends_k, scale, window);
        return torch::autograd::grad({out_thd}, leaves, {gradient_thd});
    }

    static at::Tensor forward(AutogradContext *context, const at::Tensor &q_thd, const at::Tensor &k_tkd, const at::Tensor &v_tkd,
                              const at::Tensor &ends_q, const at::Tensor &ends_k, const std::vector<int64_t> &pairs, double scale,
                              int64_t window, bool is_plain) {
        const auto branches = branches_of(pairs);
        int64_t most_q = 0, most_k = 0;
        for (const Branch &branch : branches) {
            most_q = std::max(most_q, branch.length);
            most_k = std::max(most_k, branch.start + branch.length);
        }
        const auto k_lkd = gathered(k_tkd, branches), v_lkd = gathered(v_tkd, branches);
        at::Tensor out_thd, logsumexp, random, unused, debug;
        if (is_plain) {
            out_thd = plain(q_thd, k_lkd, v_lkd, ends_q, ends_k, scale, window);
        } else {
            std::tie(out_thd, logsumexp, random, unused, debug) = at::_flash_attention_forward(
                q_thd, k_lkd, v_lkd, ends_q, ends_k, most_q, most_k, /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, scale,
                left(window), /*window_size_right=*/0);
        }
        context->save_for_backward({q_thd, k_tkd, v_tkd, out_thd, logsumexp, random, unused, ends_q, ends_k});
        keep(context, pairs, scale, window);
        context->saved_data["plain"] = is_plain;
        context->saved_data["most_q"] = most_q;
        context->saved_data["most_k"] = most_k;
        return out_thd;
    }

    static variable_list backward(AutogradContext *context, variable_list gradients) {
        const auto kept = context->get_saved_variables();
        const auto branches = branches_of(context->saved_data["branches"].toIntVector());
        const auto k_lkd = gathered(kept[1], branches), v_lkd = gathered(kept[2], branches), gradient_thd = gradients[0].contiguous();
        const double scale = context->saved_data["scale"].toDouble();
        const int64_t window = context->saved_data["window"].toInt();
        at::Tensor q_gradient, k_gradient, v_gradient;
        if (context->saved_data["plain"].toBool()) {
            const auto made = plain_backward(gradient_thd, {kept[0], k_lkd, v_lkd}, kept[7], kept[8], scale, window);
            q_gradient = made[0], k_gradient = made[1], v_gradient = made[2];
        } else {
            std::tie(q_gradient, k_gradient, v_gradient) = at::_flash_attention_backward(
                gradient_thd, kept[0], k_lkd, v_lkd, kept[3], kept[4], kept[7], kept[8], context->saved_data["most_q"].toInt(),
                context->saved_data["most_k"].toInt(), /*dropout_p=*/0.0, /*is_causal=*/true, kept[5], kept[6], scale, left(window),
                /*window_size_right=*/0);
        }
        return {q_gradient, summed(k_gradient, kept[1], branches), summed(v_gradient, kept[2], branches), {}, {}, {}, {}, {}, {}};
    }
};

// Writes branches in the form that autograd can keep, checked to be the whole row.
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
                     double scale, int64_t window, int plain, ewe_tensor *out, char *error, size_t room) {
    return guarded(error, room, [&] {
        const auto pairs = pairs_of(branches, count, tensor(q), tensor(k));
        *out = new at::Tensor(
            AttendFlash::apply(tensor(q), tensor(k), tensor(v), tensor(ends_q), tensor(ends_k), pairs, scale, window, plain != 0));
    });
}
}

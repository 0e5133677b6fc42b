// Attention over a cache of pages, in the form of flash attention's paged call. See shim.h.
//
// Shapes: n new tokens of s sequences, h query heads, kv key/value heads, d features of a head, p
// pages of `page` tokens, w pages of a table's row, l keys of a sequence.

#include "guarded.h"

#include <ATen/ATen.h>

namespace {

struct Call {
    const at::Tensor &q_nhd, &k_ppkd, &v_ppkd;
    // int32: [s + 1], [s + 1], [s], [s, w].
    const at::Tensor &query_ends, &key_ends, &used_s, &table_sw;
    // Of any sequence.
    int64_t most_queries, most_keys;
    double scale;
    // 0 for all keys.
    int64_t window;
};

// The sizes that flash attention checks, for the twin too.
void check(const Call &call) {
    TORCH_CHECK(call.q_nhd.dim() == 3 && call.k_ppkd.dim() == 4 && call.k_ppkd.sizes() == call.v_ppkd.sizes(), "queries of ", call.q_nhd.sizes(),
                ", pages of keys ", call.k_ppkd.sizes(), " and of values ", call.v_ppkd.sizes());
    const int64_t sequences = call.used_s.size(0), heads = call.q_nhd.size(1), kv = call.k_ppkd.size(2);
    TORCH_CHECK(call.k_ppkd.size(1) % 256 == 0, "pages of ", call.k_ppkd.size(1), " tokens, which 256 does not divide");
    TORCH_CHECK(call.q_nhd.size(2) == call.k_ppkd.size(3) && heads % kv == 0, heads, " query heads of ", call.q_nhd.size(2), " features for ", kv,
                " of ", call.k_ppkd.size(3));
    TORCH_CHECK(call.query_ends.dim() == 1 && call.query_ends.size(0) == sequences + 1 && call.key_ends.sizes() == call.query_ends.sizes(),
                "lengths of ", call.query_ends.sizes(), " and ", call.key_ends.sizes(), " for ", sequences, " sequences");
    TORCH_CHECK(call.table_sw.dim() == 2 && call.table_sw.size(0) == sequences, "a table of ", call.table_sw.sizes(), " for ", sequences, " sequences");
    for (const at::Tensor *x : {&call.query_ends, &call.key_ends, &call.used_s, &call.table_sw}) {
        TORCH_CHECK(x->scalar_type() == at::kInt && x->is_contiguous(), "lengths and tables are contiguous int32");
    }
    TORCH_CHECK(call.most_keys <= call.table_sw.size(1) * call.k_ppkd.size(1), call.most_keys, " keys in a table of ", call.table_sw.size(1), " pages");
}

// A token sees itself and `window - 1` tokens before it.
std::optional<int64_t> left(int64_t window) { return window > 0 ? std::make_optional(window - 1) : std::nullopt; }

// How many parts flash attention may divide the keys into: 0 for as many as it thinks best, but 1
// where queries are ragged.
//
// libtorch 2.13 chooses parts for every paged call, but the kernel that adds the parts up reads the
// output's stride from one sequence to the next, which `set_params_fprop` sets only without
// cumulative lengths. mha_varlen_fwd drops these where it swaps the groups of heads for queries:
// one query a sequence, fewer key heads, no window
// (ATen/native/transformers/cuda/flash_attn/flash_api.cpp). Everywhere else several parts would
// write all sequences over the first.
int64_t parts(int64_t most_queries, int64_t heads, int64_t kv, int64_t window) {
    return most_queries == 1 && heads > kv && window == 0 ? 0 : 1;
}

// Runs on GPUs only. Arguments as in ATen/ops/_flash_attention_forward.h of 2.13: with `seqused_k`,
// the cumulative lengths of keys are checked and not read. The last query of a sequence is aligned
// with its last key. The right border is given only beside a left one: without both, decoding with
// grouped heads takes the faster form (`seqlenq_ngroups_swapped`).
at::Tensor flash(const Call &call) {
    const auto right = call.window > 0 ? std::make_optional<int64_t>(0) : std::nullopt;
    return std::get<0>(at::_flash_attention_forward(call.q_nhd, call.k_ppkd, call.v_ppkd, call.query_ends, call.key_ends, call.most_queries,
                                                    call.most_keys, /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, call.scale,
                                                    left(call.window), right, /*seqused_k=*/call.used_s, /*alibi_slopes=*/std::nullopt,
                                                    /*block_table=*/call.table_sw,
                                                    parts(call.most_queries, call.q_nhd.size(1), call.k_ppkd.size(2), call.window)));
}

// The first `length` keys or values of a sequence, by the pages of its row of the table: [h, l, d]
// in fp32, each head as often as queries share it.
at::Tensor gathered(const at::Tensor &x_ppkd, const at::Tensor &row_w, int64_t length, int64_t heads) {
    const int64_t page = x_ppkd.size(1), pages = (length + page - 1) / page;
    const auto index = row_w.narrow(0, 0, pages).to(x_ppkd.device(), at::kLong);
    const auto x_khd = x_ppkd.index_select(0, index).flatten(0, 1).narrow(0, 0, length).transpose(0, 1).to(at::kFloat);
    return x_khd.repeat_interleave(heads / x_khd.size(0), 0);
}

// The same as `flash` in libtorch's operations, sequence by sequence and in fp32: for tests, and to
// compare a GPU with.
at::Tensor plain(const Call &call) {
    const auto query_ends = call.query_ends.cpu(), used_s = call.used_s.cpu(), table_sw = call.table_sw.cpu();
    const auto *end = query_ends.const_data_ptr<int32_t>();
    const auto *used = used_s.const_data_ptr<int32_t>();
    const auto device = call.q_nhd.device();
    const int64_t heads = call.q_nhd.size(1);
    auto out_nhd = at::empty(call.q_nhd.sizes(), call.q_nhd.options());
    for (int64_t s = 0; s < used_s.size(0); s++) {
        const int64_t count = end[s + 1] - end[s], keys = used[s];
        TORCH_CHECK(count > 0 && count <= call.most_queries && count <= keys && keys <= call.most_keys, count, " queries of ", keys, " keys");
        const auto row_w = table_sw.select(0, s);
        const auto k_hld = gathered(call.k_ppkd, row_w, keys, heads), v_hld = gathered(call.v_ppkd, row_w, keys, heads);
        const auto q_hmd = call.q_nhd.narrow(0, end[s], count).transpose(0, 1).to(at::kFloat);
        const auto index = at::TensorOptions(at::kLong).device(device);
        const auto keys_l = at::arange(keys, index), queries_m1 = at::arange(keys - count, keys, index).unsqueeze(1);
        auto hidden_ml = keys_l.gt(queries_m1);
        if (call.window > 0) hidden_ml = hidden_ml.logical_or(keys_l.le(queries_m1 - call.window));
        auto scores_hml = at::matmul(q_hmd, k_hld.transpose(1, 2)).mul_(call.scale);
        scores_hml.masked_fill_(hidden_ml, -std::numeric_limits<double>::infinity());
        out_nhd.narrow(0, end[s], count).copy_(at::matmul(at::softmax(scores_hml, -1), v_hld).transpose(0, 1));
    }
    return out_nhd;
}

}  // namespace

extern "C" {

int ewe_attend_pages(const ewe_pages_call *given, ewe_tensor *out, char *error, size_t room) {
    return guarded(error, room, [&] {
        const Call call{tensor(given->q),        tensor(given->k),    tensor(given->v),     tensor(given->query_ends),
                        tensor(given->key_ends), tensor(given->used), tensor(given->table), given->most_queries,
                        given->most_keys,        given->scale,        given->window};
        check(call);
        *out = new at::Tensor(given->plain ? plain(call) : flash(call));
    });
}

int64_t ewe_attend_pages_parts(int64_t most_queries, int64_t heads, int64_t kv_heads, int64_t window) {
    return parts(most_queries, heads, kv_heads, window);
}
}

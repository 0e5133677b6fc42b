// Counts what libtorch is asked for while a trace is held. See shim.h.
//
// Operators call each other: `linear` calls `addmm`. Kernels are launched by the innermost ones, so
// only these count as launches. Where the CPU stands in for a GPU, what a GPU computes in one kernel
// and the CPU in several is counted as one, and its parts not at all.

// As libtorch was compiled: the layout of `RecordFunction` depends on it.
#ifndef NDEBUG
#define NDEBUG
#endif

#include "guarded.h"

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace {

using Names = std::unordered_set<std::string_view>;

// Operators that give a tensor another shape or name, in the same memory.
const Names VIEWS = {
    "alias", "as_strided", "detach", "detach_", "diagonal", "expand", "lift_fresh", "permute", "resolve_conj", "resolve_neg",
    "select", "slice", "split", "split_with_sizes", "squeeze", "squeeze_", "t", "transpose", "transpose_", "unbind",
    "unfold", "unsafe_split", "unsafe_view", "unsqueeze", "unsqueeze_", "view", "view_as_real", "_reshape_alias", "_unsafe_view",
};

// Operators that allocate, or change metadata.
const Names ALLOCATIONS = {
    "empty", "empty_like", "empty_permuted", "empty_quantized", "empty_strided", "new_empty", "new_empty_strided", "resize_",
    "resize_as_", "set_",
};

// Operators that launch nothing unless others that they call do.
const Names COMPOSITIONS = {
    "chunk", "clone", "contiguous", "data", "dropout", "expand_as", "flatten", "is_floating_point", "is_nonzero", "is_same_size",
    "item", "movedim", "narrow", "numel", "output_nr", "pin_memory", "ravel", "requires_grad_", "reshape", "reshape_as",
    "result_type", "retain_grad", "size", "stride", "swapaxes", "to", "type_as", "unflatten", "view_as", "_backward", "_has_compatible_shallow_copy_type",
    "_to_copy", "_version",
};

// Operators of one launch on a GPU, whatever the CPU does instead. Attention takes a second one
// where a kernel splits the keys.
const Names ONE_LAUNCH = {
    "addmm", "all", "amax", "amin", "any", "argmax", "argmin", "baddbmm", "bmm", "cat", "linalg_vector_norm", "log_softmax", "max",
    "mean", "min", "mm", "native_layer_norm", "native_layer_norm_backward", "norm", "rms_norm", "roll",
    "scaled_dot_product_attention", "softmax", "stack", "sum", "topk", "_fused_rms_norm", "_fused_rms_norm_backward",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
};

// Operators that read or write some rows of their first tensor, not all of it.
const Names SPARSE = {"embedding", "gather", "index", "index_add_", "index_copy_", "index_fill_", "index_put_", "index_select",
                      "scatter_", "scatter_add_", "_index_put_impl_"};

// Operators that write their first tensor without reading it.
const Names WRITES = {"bernoulli_", "copy_", "fill_", "normal_", "random_", "uniform_", "zero_"};

// A tensor of an operator: its identity and its bytes.
struct Operand {
    const void *tensor;
    const void *storage;
    int64_t bytes;
    bool counted;    // on the device of the trace
    bool on_cpu;
    bool is_number;  // a scalar of the program
};

struct Of {
    int64_t calls = 0, launches = 0;
};

struct Trace : c10::DebugInfoBase {
    explicit Trace(c10::DeviceType device) : device(device) {}

    const c10::DeviceType device;
    std::mutex lock;  // autograd computes on threads of its own
    ewe_trace_counts counts = {};
    std::map<std::string, Of, std::less<>> by_name;
    // Memory that was only set to zero, and by how many bytes. `tch` makes a tensor of values of
    // the host so, and then writes them.
    std::unordered_map<const void *, int64_t> zeroed;

    Of &of(std::string_view name) {
        const auto found = by_name.find(name);
        return found != by_name.end() ? found->second : by_name.emplace(name, Of()).first->second;
    }
};

constexpr std::string_view KIND_NAME = "EWE_TRACE";
// libtorch hands this state, and the callbacks of a thread, to the threads of a backward pass.
const c10::DebugInfoKind KIND(&KIND_NAME);

// An operator that runs.
struct Frame : at::ObserverContext {
    Trace *trace;
    Frame *parent;
    std::string_view name;
    std::vector<Operand> inputs;
    bool launched = false;  // a part of it launched
    bool viewed = false;    // a part of it is a view
    bool hidden = false;    // part of one launch, or of none
    bool crosses = false;   // asked for a copy on the CPU
};

thread_local Frame *innermost = nullptr;

void collect(const Trace &trace, const c10::IValue &value, std::vector<Operand> &found) {
    if (value.isTensor()) {
        const at::Tensor &x = value.toTensor();
        if (!x.defined() || !x.has_storage()) return;
        const auto type = x.device().type();
        const auto &storage = x.storage();
        const int64_t all = static_cast<int64_t>(storage.nbytes()), own = x.numel() * static_cast<int64_t>(x.element_size());
        found.push_back({x.unsafeGetTensorImpl(), storage.unsafeGetStorageImpl()->data(), std::min(all, own), type == trace.device,
                         type == c10::DeviceType::CPU, x.unsafeGetTensorImpl()->is_wrapped_number()});
    } else if (value.isList()) {
        for (const c10::IValue &one : value.toListRef()) collect(trace, one, found);
    } else if (value.isTuple()) {
        for (const c10::IValue &one : value.toTupleRef().elements()) collect(trace, one, found);
    }
}

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction &function) {
    auto *trace = static_cast<Trace *>(c10::ThreadLocalDebugInfo::get(KIND));
    const std::string_view name = function.name(), aten = "aten::";
    if (!trace || name.substr(0, aten.size()) != aten) return nullptr;
    auto frame = std::make_unique<Frame>();
    frame->trace = trace;
    frame->parent = innermost;
    frame->name = name.substr(aten.size());
    const bool stands_in = trace->device == c10::DeviceType::CPU;
    frame->hidden = innermost && (innermost->hidden || (stands_in && ONE_LAUNCH.count(innermost->name)));
    const auto given = function.inputs();
    for (const c10::IValue &value : given) {
        collect(*trace, value, frame->inputs);
        frame->crosses |= value.isDevice() && value.toDevice().is_cpu();
    }
    // A change of type names the device as well.
    frame->crosses &= frame->name == "to" && given.size() > 1 && (given[1].isNone() || given[1].isDevice());
    // The CPU converts the numbers of a program. A GPU gets them as arguments of a kernel.
    frame->hidden |= frame->name == "to" && !frame->inputs.empty() && frame->inputs[0].is_number;
    innermost = frame.get();
    return frame;
}

int64_t bytes_of(const Frame &frame, const std::vector<Operand> &outputs, bool is_out) {
    const auto written = [&](const Operand &x) {
        return std::any_of(outputs.begin(), outputs.end(), [&](const Operand &y) { return x.tensor == y.tensor; });
    };
    const bool sparse = SPARSE.count(frame.name) > 0, in_place = !frame.inputs.empty() && written(frame.inputs[0]);
    int64_t bytes = 0;
    for (size_t i = 0; i < frame.inputs.size(); i++) {
        const Operand &x = frame.inputs[i];
        if (!x.counted) continue;
        if (i == 0 && (sparse || WRITES.count(frame.name))) continue;
        if (is_out && written(x)) continue;
        bytes += sparse && in_place ? 2 * x.bytes : x.bytes;
    }
    for (const Operand &y : outputs) {
        if (!y.counted || (sparse && in_place)) continue;
        bytes += sparse ? 2 * y.bytes : y.bytes;
    }
    return bytes;
}

// Counts an operator as a copy between host and device, if it is one.
bool crossed(Trace &trace, const Frame &frame) {
    if (frame.name == "_local_scalar_dense") {
        if (!frame.inputs.empty() && frame.inputs[0].counted) trace.counts.reads++;
        return true;
    }
    if (trace.device != c10::DeviceType::CPU) {
        if (frame.name != "copy_" || frame.inputs.size() < 2 || frame.inputs[0].on_cpu == frame.inputs[1].on_cpu) return false;
        (frame.inputs[0].on_cpu ? trace.counts.reads : trace.counts.uploads)++;
        return true;
    }
    // The CPU stands in for a GPU: what was made of values of the host comes from there, everything
    // else is read by it.
    if (!frame.crosses || frame.inputs.empty()) return false;
    const auto zeroed = trace.zeroed.find(frame.inputs[0].storage);
    if (zeroed == trace.zeroed.end()) {
        trace.counts.reads++;
        return false;
    }
    trace.counts.uploads++;
    trace.counts.launches--;
    trace.counts.bytes -= zeroed->second;
    trace.of("zero_").launches--;
    trace.zeroed.erase(zeroed);
    return false;
}

void count(Trace &trace, Frame &frame, const std::vector<Operand> &outputs, bool is_out) {
    const std::lock_guard<std::mutex> guard(trace.lock);
    trace.counts.operators++;
    Of &of = trace.of(frame.name);
    of.calls++;
    if (crossed(trace, frame) || frame.launched) return;
    const auto counted = [](const std::vector<Operand> &all) {
        return std::any_of(all.begin(), all.end(), [](const Operand &x) { return x.counted; });
    };
    if (COMPOSITIONS.count(frame.name) || !(counted(frame.inputs) || counted(outputs))) return;
    if (VIEWS.count(frame.name)) {
        trace.counts.views += frame.viewed ? 0 : 1;
        frame.viewed = true;
        return;
    }
    if (ALLOCATIONS.count(frame.name)) {
        for (const Operand &y : outputs) trace.zeroed.erase(y.storage);
        return;
    }
    const int64_t bytes = bytes_of(frame, outputs, is_out);
    frame.launched = true;
    of.launches++;
    trace.counts.launches++;
    trace.counts.bytes += bytes;
    for (const Operand &y : outputs) {
        if (frame.name == "zero_") {
            trace.zeroed[y.storage] = bytes;
        } else {
            trace.zeroed.erase(y.storage);
        }
    }
}

void end(const at::RecordFunction &function, at::ObserverContext *context) {
    auto *frame = static_cast<Frame *>(context);
    if (!frame) return;
    innermost = frame->parent;
    if (frame->hidden) return;
    std::vector<Operand> outputs;
    for (const c10::IValue &value : function.outputs()) collect(*frame->trace, value, outputs);
    const std::string_view overload = function.overload_name();
    const bool is_out = overload.size() >= 3 && overload.substr(overload.size() - 3) == "out";
    count(*frame->trace, *frame, outputs, is_out);
    if (frame->parent) {
        frame->parent->launched |= frame->launched;
        frame->parent->viewed |= frame->viewed;
    }
}

struct Held {
    std::shared_ptr<Trace> trace;
    at::CallbackHandle handle;
};

}  // namespace

extern "C" {

int ewe_trace_begin(int gpu, void **trace, char *error, size_t room) {
    return guarded(error, room, [&] {
        TORCH_CHECK(!c10::ThreadLocalDebugInfo::get(KIND), "a trace is held already");
        auto started = std::make_shared<Trace>(gpu ? c10::DeviceType::CUDA : c10::DeviceType::CPU);
        c10::ThreadLocalDebugInfo::_push(KIND, started);
        const auto handle = at::addThreadLocalCallback(
            at::RecordFunctionCallback(begin, end).needsInputs(true).needsOutputs(true).scopes({at::RecordScope::FUNCTION}));
        *trace = new Held{std::move(started), handle};
    });
}

int ewe_trace_end(void *trace, ewe_trace_counts *counts, ewe_trace_name each, void *context, char *error, size_t room) {
    return guarded(error, room, [&] {
        const std::unique_ptr<Held> held(static_cast<Held *>(trace));
        at::removeCallback(held->handle);
        c10::ThreadLocalDebugInfo::_pop(KIND);
        *counts = held->trace->counts;
        for (const auto &[name, of] : held->trace->by_name) each(context, name.c_str(), of.calls, of.launches);
    });
}
}

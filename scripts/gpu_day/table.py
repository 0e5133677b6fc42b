"""The day as a table for people."""

from .runner import replace


def write(day, path):
    """Writes the day as Markdown."""
    parts = {entry["part"]: entry for entry in day["parts"]}
    state = f"{day['seconds']:.0f} s of {day['limit_s']:.0f} s" + ("" if day["complete"] else ", not finished")
    lines = [f"# GPU day: {day['shape']} on {day['machine']['card']}", "", f"{day['date']}, {day['ewe']}, {state}.", ""]
    lines += [f"- {name}: {value}" for name, value in day["machine"].items()]
    for title, section in SECTIONS:
        body = section(parts)
        lines += ["", f"## {title}", "", *body] if body else []
    replace(path, "\n".join(lines) + "\n")


def table(head, rows):
    bar = "|".join([" --- "] + [" ---: "] * (len(head) - 1))
    return [f"| {' | '.join(head)} |", f"|{bar}|", *(f"| {' | '.join(row)} |" for row in rows)] if rows else []


def of(parts, prefix):
    """Yields name and result of the parts that ended well, by the beginning of their name."""
    for name, entry in parts.items():
        if name.startswith(prefix) and entry["status"] == "done":
            yield name[len(prefix) :], entry["result"]


def number(value, form="{:,.0f}", scale=1.0):
    return "–" if value is None else form.format(value * scale)


def overview(parts):
    row = lambda entry: [entry["part"], entry["status"], number(entry.get("seconds"), "{:.1f}"), short(entry.get("reason", ""))]
    return table(["part", "result", "s", "reason"], [row(entry) for entry in parts.values()])


def short(text):
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= 160 else text[:159] + "…"


def selftest(parts):
    lines = []
    for _, result in of(parts, "selftest"):
        failed = [check for check in result["checks"] if not check["passed"]] + [k for k in result.get("kernels", []) if not k["passed"]]
        lines.append(f"{result['failed']} of {len(result['checks']) + len(result.get('kernels', []))} checks failed.")
        lines += [f"- {check.get('model', 'kernel')}: {check.get('check', check.get('kernel'))}: {short(check['detail'])}" for check in failed]
        rates = f"{number(result.get('gflops_bf16'), '{:.1f}', 1e-3)} TFLOP/s bf16, {number(result.get('gflops_fp32'), '{:.1f}', 1e-3)} fp32"
        lines.append(f"- matrix products: {rates}")
    return lines


def kernels(parts):
    rows = []
    for _, result in of(parts, "kernels"):
        for check in result["kernels"]:
            speed = check.get("speed") or {}
            agrees = check["detail"] if check["passed"] else f"FAILED: {short(check['detail'])}"
            figures = [number(speed.get("bytes_per_parameter"), "{:.2f}"), number(speed.get("ms"), "{:.3f}"), number(speed.get("gb_per_s"))]
            rows.append([check["kernel"], agrees, *figures])
    return table(["kernel", "beside its twin", "bytes a parameter", "ms for 64M", "GB/s"], rows)


def memory(parts):
    rows = []
    for name, result in of(parts, "memory: "):
        size = lambda key: number(result.get(key), "{:.2f}", 1e-9)
        if result["fits"]:
            rows.append([f"`{name}`", size("planned"), size("memory"), number(result.get("planned_apart"), "{:+.1f} %", 100), number(result["tokens_per_s"])])
        else:
            rows.append([f"`{name}`", size("planned"), f"not run: {size('planned_total')} GB in all, {size('free')} free", "–", "–"])
    return table(["options", "planned GB", "measured GB", "apart", "tokens/s"], rows)


def training(parts):
    rows = []
    for name, result in of(parts, "training: "):
        if result["fits"]:
            figures = [number(result["tokens"]), number(result["tokens_per_s"]), number(result["mfu"], "{:.1f} %", 100), number(result["matmul_tflops"], "{:.1f}")]
            rows.append([f"ewe {name}", *figures])
        else:
            rows.append([f"ewe {name}", number(result["tokens"]), "does not fit", "–", "–"])
    for name, result in of(parts, "peer: transformers Trainer, "):
        rows.append([f"Trainer {name} ({result['optimizer']})", number(result["tokens"]), number(result["tokens_per_s"]), "–", "–"])
    return table(["training", "tokens a step", "tokens/s", "MFU", "matmul TFLOP/s"], rows)


def ranks(parts):
    rows = []
    for name, result in of(parts, "ranks: "):
        size = lambda key: number(result.get(key), "{:.2f}", 1e-9)
        rows.append([f"`{name}`", number(result["ranks"]), result["by"], number(result["tokens_per_s"]), size("planned"), size("memory")])
    return table(["several GPUs", "ranks", "exchanging by", "tokens/s", "planned GB each", "measured GB"], rows)


def decode(parts):
    rows = []
    for _, result in of(parts, "decode: "):
        bound = result.get("bound_tokens_per_s")
        share = None if bound is None else bound / result["decode_tokens_per_s"]
        figures = [number(result["tokens_per_s"]), number(result["decode_tokens_per_s"]), number(share, "{:.2f} ×")]
        rows.append([f"ewe, {result['sequences']}", *figures])
    for tool, prefix in (("transformers", "peer: transformers generate"), ("vLLM", "peer: vLLM")):
        for _, result in of(parts, prefix):
            rows += [[f"{tool}, {run['sequences']}", number(run["tokens_per_s"]), "–", "–"] for run in result["runs"]]
    return table(["sequences at once", "tokens/s", "without prompts", "time / bandwidth bound"], rows)


def trace(parts):
    lines = []
    for _, result in of(parts, "decode trace"):
        counts = result["trace"]
        lines.append(f"{result['sequences']} sequences, {result['layers']} layers; counted from the operators of one step:")
        lines += ["", *(f"- {name}: {listed(value)}" for name, value in counts.items())]
        lines += [f"- {name}: {listed(result[name])}" for name in ("kernels_per_step", "kernels_per_layer", "cudnn_kernels", "unknown") if name in result]
    return lines


def listed(value):
    if isinstance(value, list):
        return ", ".join(" ".join(map(str, of)) if isinstance(of, list) else str(of) for of in value) or "none"
    return value


SECTIONS = [
    ("Parts", overview),
    ("Self-test", selftest),
    ("Kernels", kernels),
    ("Memory of a step of about 2,000 tokens", memory),
    ("Training", training),
    ("Several GPUs", ranks),
    ("Generation", decode),
    ("Decode trace", trace),
]

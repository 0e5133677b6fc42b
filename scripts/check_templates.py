#!/usr/bin/env python3
"""Trains tiny models with every template and every class of tokenizer, and loads the results with
`transformers`: the chat template saved beside adapter and model must give the tokens that training
saw, and the answers must be the same.

    .venv/bin/python scripts/check_templates.py            # every tokenizer of tokenizer_zoo.py
    .venv/bin/python scripts/check_templates.py llama2     # one

The loss shows what `ewe` trained on: in fp32, over the tokens and targets that the saved
tokenizer's `apply_chat_template` gives, `transformers` must compute the same loss to the fifth
digit, and the same number of targets. Some rows have a system message. `ewe score --chat` and `ewe
complete --chat` must give the same rows the same tokens. Then the trained model answers by `ewe
complete --chat`, by `ewe serve` (with a system message, and with several turns), and by `generate`
of `transformers` with the adapter, the merged model and the fully trained model and their saved
generation_config.json. Needs requirements-dev.txt and built binaries.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import torch
from peft import PeftModel
from tokenizer_zoo import TEMPLATES, marked, save, zoo
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target" / "debug" / "ewe"
ROWS = [
    {"instruction": "Name it.", "input": "", "output": "the 1"},
    {"instruction": "the", "input": "a 1\n", "output": "1"},
    {"instruction": " is it?", "output": "\nit: 羊"},
    {"instruction": "[INST] \"b\" <s>", "input": "0", "output": " a\n\n1."},
]
# Rows with a system message, for templates that accept one.
BELOW = [
    {"system": "be it", "instruction": "a", "input": "", "output": "the\n"},
    {"system": " <s> 羊\n", "instruction": "Name it.", "input": "0", "output": "1"},
]
BLOCKS = """{# what is asked -#}
{% macro quoted(text) %}'{{ text }}'{% endmacro %}
{% block prompt %}T: {{ quoted(instruction) }}
{% if input %}
   with {{ input | trim }}
{% endif %}
{% endblock %}
{% block completion -%}
   B: {{ output }} <end>
{%- endblock %}
"""
FORMS = ["alpaca", "dolly", "completion", "blocks", "chat", "marked"]


def ewe(*arguments, **more):
    return subprocess.run([EWE, "-q", *map(str, arguments)], check=True, capture_output=True, text=True, **more).stdout


def make(tok, config, directory, chat):
    torch.manual_seed(1)
    save(tok, config | ({"chat_template": chat} if chat else {}), directory)
    ids = {field + "_token_id": tok.token_to_id(config[field + "_token"]) for field in ("bos", "eos") if field + "_token" in config}
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=1024, initializer_range=0.4, **ids,
    ))
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)


def messages_of(row, takes_input):
    user = {"role": "user", "content": row["instruction"]}
    if row.get("input", "").strip():
        if takes_input:
            user["input"] = row["input"]
        else:
            user["content"] += "\n\n" + row["input"]
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return [*system, user, {"role": "assistant", "content": row["output"]}]


def learnt(tokenizer, tok, messages):
    """Returns the tokens of a row by the saved template, and which of them are targets."""
    template = tokenizer.get_chat_template()
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = list(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])
    if "{% generation %}" in template:
        mask = marked(tokenizer, tok, messages)
    else:
        opened = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        assert text.startswith(opened)
        offsets = tok.encode(text, add_special_tokens=False).offsets
        mask = [end > len(opened) or start >= len(opened) for start, end in offsets]
    # Training adds an end token to a text that does not end with a special token. White space after
    # the special token may be one token or two.
    special = [token.content for token in tok.get_added_tokens_decoder().values() if token.special]
    if not text.rstrip().endswith(tuple(special)):
        ids.append(tokenizer.eos_token_id)
        mask.append(True)
    return ids, mask


def mean_loss(model, examples):
    total, count = 0.0, 0
    for ids, mask in examples:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].double()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
        chosen = torch.tensor(mask[1:])
        total, count = total + losses[chosen].sum().item(), count + int(chosen.sum())
    return total / count, count


def answer(model, tokenizer, messages, tokens=12):
    """Returns the greedy answer by the saved configuration, and the length of the prompt in
    tokens."""
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, tokenizer=tokenizer,
                             pad_token_id=0)[0, ids.shape[1] :]
    text = tokenizer.decode(out, skip_special_tokens=True)
    for stop in model.generation_config.stop_strings or []:
        text = text.split(stop)[0]
    return text.strip(), ids.shape[1]


def served(arguments, conversations):
    process = subprocess.Popen([EWE, "serve", "--bind", "127.0.0.1:0", "--dtype", "fp32", *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        address = line.split("http://")[1].split("/")[0]
        answers = []
        for messages in conversations:
            body = json.dumps({"messages": messages, "temperature": 0, "max_tokens": 12}).encode()
            request = urllib.request.Request(f"http://{address}/v1/chat/completions", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request) as response:
                out = json.load(response)
            answers.append((out["choices"][0]["message"]["content"].strip(), out["usage"]["prompt_tokens"]))
        return answers
    finally:
        process.terminate()
        process.wait()


def takes_system(template):
    """Returns whether a template of tokenizer_zoo.py or of ewe accepts a system message."""
    return template not in ("inst", "turns")


def conversations(template):
    said = [[{"role": "user", "content": "the 1"}], [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": " c"}]]
    return said + [[{"role": "system", "content": "be it"}, {"role": "user", "content": "a"}]] if takes_system(template) else said


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def differs(data, conversations, examples, tokenizer, folder):
    """Returns where `score --chat` and `complete --chat` differ from the tokenizer and model in a
    folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    out, failed = data.with_suffix(".out.jsonl"), []
    common = ["--model", folder, "--chat", "--dtype", "fp32", "--out", out]
    ewe("score", "--data", data, *common)
    for messages, example, got in zip(conversations, examples, read_lines(out), strict=True):
        mean, count = mean_loss(model, [example])
        if got["tokens"] != count or abs(got["nll"] - mean * count) > 1e-4 * mean * count:
            failed.append(f"score of {messages}: {got}, want {mean * count} over {count}")
    ewe("complete", "--prompts", data, "--max-tokens", 1, *common)
    for messages, got in zip(conversations, read_lines(out), strict=True):
        want = len(tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"])
        if got["prompt_tokens"] != want:
            failed.append(f"complete of {messages}: {got['prompt_tokens']} tokens, want {want}")
    return failed


def check(name, tok, config, form, scratch):
    base, data, out, full, merged = (scratch / f"{name} {form} {what}" for what in ("base", "rows.jsonl", "adapter", "full", "merged"))
    chat = {"qwen": "chatml", "qwen_base": "chatml", "llama3": "header", "gemma": "turns", "llama2": "inst", "mistral": "inst"}.get(name, "zephyr")
    make(tok, config, base, TEMPLATES[chat] if form == "chat" else None)
    rows = ROWS + (BELOW if takes_system(chat if form == "chat" else form) else [])
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = form
    if form == "blocks":
        template = scratch / "blocks.jinja"
        template.write_text(BLOCKS)
    if form == "marked":
        template = scratch / "marked.jinja"
        template.write_text(TEMPLATES["marked"])
    options = ["--data", data, "--template", template, "--steps", 2, "--batch-size", 9, "--warmup-steps", 0, "--schedule", "constant",
               "--eval-fraction", 0, "--precision", "fp32", "--lr", 3e-2]  # fmt: skip
    ewe("train", "--model", base, "--out", out, *options)
    ewe("train", "--model", base, "--out", full, "--method", "full", *options)
    ewe("merge", "--model", base, "--adapter", out, "--out", merged)

    tokenizer = AutoTokenizer.from_pretrained(out)
    bare = type(tok).from_str(tok.to_str())
    bare.post_processor = None
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    laid_out = [messages_of(row, form not in ("chat", "marked")) for row in rows]
    examples = [learnt(tokenizer, bare, messages) for messages in laid_out]
    loss, count = mean_loss(model, examples)
    step = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    failed = []
    if step["target_tokens"] != count or abs(step["loss"] - loss) > 1e-5 * loss:
        failed.append(f"training: loss {step['loss']} over {step['target_tokens']}, by the saved template {loss} over {count}")

    failed += differs(data, laid_out, examples, tokenizer, full)

    asked = conversations(chat if form == "chat" else form)
    for what, folder, arguments in [("adapter", out, ["--model", base, "--adapter", out]), ("full", full, ["--model", full]), ("merged", merged, ["--model", merged])]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if what == "adapter":
            theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), out).eval()
            saved = json.loads((out / "generation_config.json").read_text())
            theirs.generation_config.update(**saved)
        else:
            theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        want = [answer(theirs, tokenizer, messages) for messages in asked]
        got = served(arguments, asked)
        if got != want:
            failed.append(f"{what}, served: {got}, want {want}")
        got = ewe("complete", *arguments, "--chat", "--prompt", asked[0][0]["content"], "--temperature", 0, "--max-tokens", 12, "--dtype", "fp32").strip()
        if got != want[0][0]:
            failed.append(f"{what}, complete --chat: {got!r}, want {want[0][0]!r}")
    print(f"{name:<18} {form:<10} loss {loss:.6f} over {count} targets, {3 * len(asked)} conversations: {'; '.join(failed) or 'the same'}", flush=True)
    return not failed


def main():
    passed = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, tok, config in zoo():
            if name in sys.argv[1:] or not sys.argv[1:]:
                passed += [check(name, tok, config, form, Path(scratch)) for form in FORMS]
    sys.exit(0 if passed and all(passed) else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares what `ewe train` learns of conversations with `transformers`: the number of targets, and
the loss over them to the fifth digit, of every answer and of the last.

    .venv/bin/python scripts/check_conversation_masks.py [PROGRAM]    # target/debug/ewe

Templates with `{% generation %}` are compared with `transformers`' own marks, as TRL's
`assistant_only_loss` uses them; those without, with the texts that the template adds to each prefix
of the conversation. Conversations have one to four turns, with and without a system message, and
calls of tools. Needs requirements-dev.txt and built binaries.
"""

import json
import sys
import tempfile
from pathlib import Path

import check_templates
from check_templates import ewe, make, mean_loss, read_lines
from tokenizer_zoo import TEMPLATES, marked, zoo
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer

# The end of a message is a target, and the heading is not, as in the templates that TRL patches.
CALLS = "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ '[' + c.function.name + ' ' + (c.function.arguments.a | string) + ']' }}{% endfor %}{% endif %}"
MARKED = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content or '' }}"
    + CALLS + "{{ '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "answers": "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'it:' }}{% generation %}{{ (m.content or '') }}" + CALLS
    + "{{ eos_token }}{% endgeneration %}{% else %}{{ m.content + '\n' }}{% endif %}{% endfor %}",
    # Answers before the last question lose their mark of thought, as in Qwen 3.
    "thinking": "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}{% for m in messages %}{% if m.role == 'assistant' %}{{ 'it:' }}{% generation %}"
    "{{ '<>' if loop.index0 > ns.last else '' }}{{ m.content or '' }}" + CALLS + "{{ eos_token }}{% endgeneration %}{% else %}"
    "{{ m.content + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'it:' }}{% endif %}",
}


def say(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def conversations():
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]}
    two = say(("user", "a"), ("assistant", "1"), ("user", "\n the"), ("assistant", "羊 1"))
    return [
        say(("user", "the 1"), ("assistant", "it")),
        two,
        [*say(("system", "be it")), *two],
        [*two, *say(("user", "b 0"), ("assistant", " 1\n2"), ("user", "so"), ("assistant", "no."))],
        [*say(("user", "a")), call, *say(("tool", "3"), ("assistant", "it is 3")), *two],
    ]


def spans(tokenizer, tok, messages, template):
    """Returns the targets of each answer, by prefixes of the conversation."""
    render = lambda part, opened: tokenizer.apply_chat_template(part, chat_template=template, tokenize=False, add_generation_prompt=opened)
    offsets = tok.encode(render(messages, False), add_special_tokens=False).offsets
    answers = []
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            begin, end = len(render(messages[:at], True)), len(render(messages[: at + 1], False))
            answers.append([start < end and (to > begin or start >= begin) for start, to in offsets])
    return answers


def last_run(mask):
    """Returns the mask with its last run of targets only."""
    end = len(mask) - mask[::-1].index(True)
    begin = end
    while begin and mask[begin - 1]:
        begin -= 1
    return [begin <= at < end for at in range(len(mask))]


def check(name, tok, config, form, template, is_marked, scratch):
    base, data, path = scratch / f"{name} {form}", scratch / "rows.jsonl", scratch / "template.jinja"
    make(tok, config, base, None)
    path.write_text(template)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
    bare = type(tok).from_str(tok.to_str())
    # Offsets without the spaces that a word begins with would leave tokens of an answer out of it.
    bare.post_processor = processors.ByteLevel(trim_offsets=False)
    failed, compared = [], 0
    for messages in conversations():
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            ids = list(bare.encode(text, add_special_tokens=False).ids)
            if is_marked:
                mask = marked(tokenizer, bare, messages, template)
                last = last_run(mask)
            else:
                answers = spans(tokenizer, bare, messages, template)
                mask, last = [any(at) for at in zip(*answers)], answers[-1]
        except Exception:  # A template that refuses the conversation, or has no place for calls.
            continue
        special = [token.content for token in bare.get_added_tokens_decoder().values() if token.special]
        if not text.rstrip().endswith(tuple(special)):
            ids, mask, last = [*ids, tokenizer.eos_token_id], [*mask, True], [*last, True]
        data.write_text(json.dumps({"messages": messages}) + "\n")
        for loss, wanted in (("all", mask), ("last", last)):
            out = scratch / f"{name} {form} {loss} {compared}"
            ewe("train", "--model", base, "--data", data, "--out", out, "--template", path, "--loss", loss, "--steps", 1,
                "--eval-fraction", 0, "--precision", "fp32", "--warmup-steps", 0)  # fmt: skip
            got = read_lines(out / "metrics.jsonl")[0]
            mean, count = mean_loss(model, [(ids, wanted)])
            compared += 1
            if got["target_tokens"] != count or abs(got["loss"] - mean) > 2e-5 * mean:
                failed.append(f"{name} {form} --loss {loss} {messages}: {got['loss']} over {got['target_tokens']}, want {mean} over {count}")
    return failed, compared


def main():
    if len(sys.argv) > 1:
        check_templates.EWE = Path(sys.argv[1])
    failed, compared = [], 0
    for name, tok, config in zoo():
        forms = [(form, template, True) for form, template in MARKED.items()]
        forms += [(form, template, False) for form, template in TEMPLATES.items() if "generation %" not in template]
        for form, template, is_marked in forms:
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    some, count = check(name, tok, config, form, template, is_marked, Path(scratch))
                except TypeError as error:  # A tokenizer without a token that the template writes.
                    print(f"{name} {form}: {error}")
                    continue
            failed += some
            compared += count
        print(f"{name}: {compared} compared so far, {len(failed)} differ", flush=True)
    print(*failed, sep="\n")
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Renders generated conversations through chat templates twice: with `transformers`, and with ewe's
own Jinja (`cargo build --example render_templates`). Both must give the same text, or both fail.

    .venv/bin/python scripts/check_jinja.py              # templates of tests/golden/chat
    .venv/bin/python scripts/check_jinja.py FOLDER …     # all *.jinja below these folders

Needs requirements-dev.txt.
"""

import argparse
import datetime
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from transformers.utils import chat_template_utils

ROOT = Path(__file__).resolve().parent.parent
RENDER = ROOT / "target" / "debug" / "examples" / "render_templates"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
TEXTS = [
    "Hi", " padded \n", "", "two\nlines\n\n", "<think>\nlet me see\n</think>\n\nfour", "a <b>tag</b> & \"quotes\" 'here'", "羊 🐑 é\u200b", "{{ bos_token }} {% raw %} {#",
    "<think>a</think>b<think>c</think>d", "\\n \\t \\", "1. one\n2. two", "</think> odd", "[INST] x [/INST]", "<|im_end|>",
]  # fmt: skip
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather <now>.\nIn a place.", "parameters": {
        "type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "Ort, e.g. \"Köln\""}, "unit": {"type": "string", "enum": ["C", "F"]},
            "days": {"type": "array", "items": {"type": "integer"}}, "deep": {"type": "object", "properties": {"x": {"type": ["number", "null"], "default": 1.5}}}}},
        "return": {"type": "string"}}},
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}},
]  # fmt: skip


class Clock(datetime.datetime):
    @classmethod
    def now(cls):
        return cls(2026, 3, 7, 9, 5)


def conversation(chance):
    """Generates a conversation: with or without a system message, roles in order or not, tool
    calls, content in parts, reasoning."""
    text = lambda: chance.choice(TEXTS)
    messages = [{"role": "system", "content": text()}] if chance.random() < 0.4 else []
    for turn in range(chance.randint(1, 4)):
        user = {"role": "user", "content": text()}
        if chance.random() < 0.1:
            user["content"] = [{"type": "text", "text": text()}, {"type": "text", "text": "more"}]
        messages.append(user)
        if turn and chance.random() < 0.5:
            break
        answer = {"role": "assistant", "content": text()}
        if chance.random() < 0.15:
            answer["reasoning_content"] = text()
        if chance.random() < 0.2:
            arguments = {"place": text(), "days": [1, 2.5, None, True], "deep": {"x": -0.0}}
            answer["tool_calls"] = [{"type": "function", "id": "call00001", "function": {"name": "get_weather", "arguments": arguments}}]
            if chance.random() < 0.3:
                answer["content"] = None
            messages += [answer, {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": text()}]
            continue
        messages.append(answer)
    if chance.random() < 0.05:
        chance.shuffle(messages)
    return messages


def cases(count, seed):
    chance = random.Random(seed)
    for _ in range(count):
        case = {"messages": conversation(chance), "add_generation_prompt": chance.random() < 0.5, "tools": None, "documents": None}
        if chance.random() < 0.35:
            case["tools"] = TOOLS[: chance.randint(1, 2)]
        if chance.random() < 0.1:
            case["documents"] = [{"title": "t", "text": "x y"}, {"title": "<u>", "text": ""}]
        if chance.random() < 0.3:
            case["enable_thinking"] = chance.random() < 0.5
        yield case


def reference(source, case):
    try:
        more = {name: value for name, value in case.items() if name not in ("messages", "tools", "documents", "add_generation_prompt")}
        rendered, _ = chat_template_utils.render_jinja_template(
            [case["messages"]], tools=case["tools"], documents=case["documents"], chat_template=source,
            add_generation_prompt=case["add_generation_prompt"], **TOKENS, **more,
        )  # fmt: skip
        return {"text": rendered[0]}
    except Exception as error:  # noqa: BLE001 - any exception means that nothing is rendered
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "tests" / "golden" / "chat"])
    parser.add_argument("--cases", type=int, default=40, help="conversations for each template")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--renderer", type=Path, default=RENDER)
    arguments = parser.parse_args()
    chat_template_utils.datetime = Clock
    files = sorted(path for folder in arguments.folders for path in folder.rglob("*.jinja"))
    generated = list(cases(arguments.cases, arguments.seed))
    requests = []
    for path in files:
        source = path.read_text()
        for case in generated:
            # `transformers` does this to messages before it renders them.
            messages = chat_template_utils._alias_reasoning_fields(chat_template_utils._plain_template_data(case["messages"]))
            requests.append({"template": source, "variables": {**TOKENS, **case, "messages": messages}})
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([arguments.renderer], input=lines, capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in done.stdout.split("\n") if line]
    bad, rendered, shown = Counter(), Counter(), 0
    for index, mine in enumerate(ours):
        path, case = files[index // len(generated)], generated[index % len(generated)]
        theirs = reference(requests[index]["template"], case)
        rendered[path] += "text" in theirs
        if mine.get("text") == theirs.get("text"):
            continue
        bad[path] += 1
        if bad[path] == 1 and shown < 30:
            shown += 1
            print(f"{path}\n  ours   {mine}\n  theirs {theirs}\n  case {json.dumps(case)}"[:3000])
    never = sum(rendered[path] == 0 for path in files)
    print(f"{len(files)} templates, {len(ours)} conversations, {sum(rendered.values())} rendered; {never} templates render none of them; "
          f"{len(bad)} templates and {sum(bad.values())} conversations differ")  # fmt: skip
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

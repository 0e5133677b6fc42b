#!/usr/bin/env python3
"""Compares what `ewe train` learns of conversations with TRL's `assistant_only_loss`, token for
token, over the templates that TRL ships: those of published models, each with one for training that
marks what assistants say.

    .venv/bin/python scripts/check_trl_templates.py [--ewe PROGRAM] [--others DIR] [NAME…]

Two things are compared, by `ewe train --template … --show-rows`:

- The marked template, with the marks that `transformers` finds. They must be equal.
- The published one, which has no marks, with those of the marked one, where both write the same
  text. What the published template's prompt for an answer ends with is no target for ewe, since no
  model has to write it, while TRL's marks often begin before it: those are called equal behind the
  prompt. Other differences are shown.

With --others, also templates without a marked one, such as those of a checkout of llama.cpp
(models/templates): the text must be that of `transformers`, and what is trained on must be what is
behind the prompts, with each answer in it and no question.

The tokenizer has a token for each byte, and one for each special token that the template writes.
Needs requirements-dev.txt and a built binary.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from tokenizer_zoo import save
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

SPECIAL = re.compile(r"<\|[^<>|\s'{}]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</?[a-z_]{1,30}>")


def say(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def conversations(template):
    """Returns conversations by what they try, as a template reads them."""
    two = say(("user", "Name a colour."), ("assistant", "Blue."), ("user", "  Another?\n"), ("assistant", "Grün, 羊\n\nor red."))
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "sum", "arguments": {"a": 1, "b": "x"}}}],
    }
    thought = {"role": "assistant", "content": "Six.", "reasoning_content": "Two times three."}
    if "thinking" in template:
        thought["thinking"] = thought["reasoning_content"]
    found = {
        "one": say(("user", "Hello there."), ("assistant", "Hello! How are you?")),
        "two": two,
        "system": [*say(("system", "Be brief.")), *two],
        "spaces": say(("user", "a"), ("assistant", "  b \n"), ("user", "c"), ("assistant", "\nd")),
        "calls": [*say(("user", "Add.")), call, *say(("tool", "7"), ("assistant", "It is 7."), ("user", "So?"), ("assistant", "Yes."))],
        "thoughts": [*say(("user", "2 * 3?")), thought, *say(("user", "And?")), thought],
    }
    # Models that see read lists of parts only.
    if re.search(r"\[0\]\[.type.\]|in message\[.content.\]", template) and "is string" not in template:
        for what, messages in found.items():
            found[what] = [message | {"content": [{"type": "text", "text": message["content"]}]} for message in messages]
    return found


def text_of(content):
    return content if isinstance(content, str) else content[0]["text"]


def tokenizer_of(texts):
    """Returns a tokenizer with a token for each byte and each special token of templates."""
    specials = sorted({"<bos>", "<eos>", *(token for text in texts for token in SPECIAL.findall(text))})
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(specials + letters)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    return tok


class Refused(Exception):
    """What ewe says instead of encoding a row."""


class Base:
    """A template, and a model whose tokenizer has its special tokens."""

    def __init__(self, ewe, template, folder, more=""):
        self.ewe, self.template, self.folder, self.base = ewe, template, folder, folder / "base"
        self.tok = tokenizer_of([template, more])
        save(self.tok, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>"}, self.base)
        LlamaForCausalLM(LlamaConfig(
            vocab_size=self.tok.get_vocab_size(), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=8192,
            bos_token_id=self.tok.token_to_id("<bos>"), eos_token_id=self.tok.token_to_id("<eos>"),
        )).save_pretrained(self.base)  # fmt: skip
        self.tokenizer = AutoTokenizer.from_pretrained(self.base)

    def render(self, messages, **more):
        return self.tokenizer.apply_chat_template(messages, chat_template=self.template, tokenize=False, **more)

    def prompts(self, messages, text):
        """Yields where the prompt for each answer ends in a text."""
        for at, message in enumerate(messages):
            for more in ({}, {"enable_thinking": False}) if message["role"] == "assistant" else ():
                opened = self.render(messages[:at], add_generation_prompt=True, **more)
                if text.startswith(opened):
                    yield len(opened)
                    break
            else:
                # A prompt that goes on otherwise than the answer does.
                yield len(os.path.commonprefix([opened, text])) if message["role"] == "assistant" else 0

    def encode(self, text, spans):
        """Returns the tokens of a text, and which of them overlap the spans. A text that ends with no
        special token gets one."""
        encoded = self.tok.encode(text, add_special_tokens=False)
        ids, mask = list(encoded.ids), [any(start < to and end > at for at, to in spans) for start, end in encoded.offsets]
        if not text.rstrip().endswith(tuple(SPECIAL.findall(text)[-1:]) or "\0"):
            ids, mask = [*ids, self.tokenizer.eos_token_id], [*mask, True]
        return ids, mask

    def trained(self, template, messages):
        """Returns the tokens of a conversation as `ewe train` has them, and which are targets."""
        data, path = self.folder / "rows.jsonl", self.folder / "template.jinja"
        plain = [message | {"content": text_of(message["content"])} for message in messages]
        data.write_text(json.dumps({"messages": plain}) + "\n")
        path.write_text(template)
        command = [self.ewe, "-q", "train", "--model", self.base, "--data", data, "--out", self.folder / "out", "--template", path,
                   "--eval-fraction", "0", "--max-length", "8192", "--reasoning", "keep", "--show-rows", "1", "--json"]  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stderr.strip())
        parts = json.loads(done.stdout)["parts"]
        ids = [token for part in parts for token in part["tokens"]]
        return ids, [part["trained"] for part in parts for _ in part["tokens"]]

    def shown(self, ids, mask):
        text = "".join(f"[{self.tok.id_to_token(i)}]" if marked else "·" for i, marked in zip(ids, mask))
        return re.sub(r"·+", "·", text)[-300:]


def said(error):
    return str(error).splitlines()[0]


def with_trl(base, marked):
    """Yields (what was compared, how it came out, what there is to say)."""
    for what, messages in conversations(marked).items():
        try:
            compiled = _compile_jinja_template(marked)
            text, spans = _render_with_assistant_indices(compiled, messages, None, None, False, **base.tokenizer.special_tokens_map)
        except Exception as error:  # A template that refuses the conversation.
            yield f"{what}, marked", "refused by transformers", said(error)
            continue
        spans = [(start, end) for start, end in spans if start < end]
        wanted = base.encode(text, spans)
        try:
            got = base.trained(marked, messages)
            yield f"{what}, marked", "equal" if got == wanted else "differs", f"{base.shown(*got)}\nwant {base.shown(*wanted)}"
        except Refused as error:
            yield f"{what}, marked", "differs", said(error)
        try:
            plain = base.render(messages)
        except Exception as error:
            yield f"{what}, published", "refused by transformers", said(error)
            continue
        if plain != text:
            yield f"{what}, published", "other text", ""
            continue
        try:
            got = base.trained(base.template, messages)
        except Refused as error:
            yield f"{what}, published", "differs", said(error)
            continue
        behind = [(max([start, *(at for at in base.prompts(messages, text) if start < at < end)]), end) for start, end in spans]
        came = "equal" if got == wanted else "equal behind the prompt" if got == base.encode(text, behind) else "differs"
        yield f"{what}, published", came, f"{base.shown(*got)}\nwant {base.shown(*wanted)}"


def alone(base):
    """As `with_trl`, for a template without a marked one."""
    for what, messages in conversations(base.template).items():
        try:
            text = base.render(messages)
        except Exception as error:
            yield what, "refused by transformers", said(error)
            continue
        try:
            ids, mask = base.trained(base.template, messages)
        except Refused as error:
            yield what, "differs", said(error)
            continue
        wanted = base.encode(text, [])[0]
        if ids != wanted:
            yield what, "other text", f"{base.tokenizer.decode(ids)!r}\nwant {text!r}"
            continue
        runs = "".join(base.tok.id_to_token(i) if marked else "\0" for i, marked in zip(ids, mask))
        spelt = lambda content: "".join(base.tok.encode(text_of(content).strip(), add_special_tokens=False).tokens)
        of = lambda role: [spelt(message["content"]) for message in messages if message["role"] == role]
        missing = [answer for answer in of("assistant") if answer not in runs]
        foreign = [asked for asked in of("user") if len(asked) > 3 and asked in runs]
        came = "answers missing" if missing else "questions trained on" if foreign else "answers and no questions"
        yield what, came, base.shown(ids, mask)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ewe", default="target/debug/ewe")
    parser.add_argument("--others", type=Path, help="a folder of templates")
    parser.add_argument("names", nargs="*", help="these only, and everything that there is to say")
    args = parser.parse_args()
    torch.manual_seed(1)
    folder = Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"
    marked = {path.stem: path.with_name(f"{path.stem}_training.jinja") for path in sorted(folder.glob("*.jinja"))}
    pairs = [(folder / f"{name}.jinja", path.read_text()) for name, path in marked.items() if path.exists()]
    pairs += [(path, "") for path in sorted(args.others.glob("*.jinja"))] if args.others else []
    counts = Counter()
    for path, twin in pairs:
        if args.names and path.stem not in args.names:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            base = Base(args.ewe, path.read_text(), Path(scratch), twin)
            for what, came, detail in with_trl(base, twin) if twin else alone(base):
                counts[f"{what.split(', ')[-1] if twin else 'others'}: {came}"] += 1
                if args.names or came in ("differs", "other text", "answers missing", "questions trained on") and detail:
                    print(f"{path.stem}, {what}: {came}\n{detail}", flush=True)
    print(json.dumps(dict(sorted(counts.items())), indent=1, ensure_ascii=False))
    return 1 if not counts or counts["marked: differs"] else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Compares what `ewe train` learns of conversations with TRL's `assistant_only_loss`, over the
templates that TRL ships: those of published models, each with one for training that marks what
assistants say.

    .venv/bin/python scripts/check_trl_templates.py [PROGRAM] [NAME…]    # target/debug/ewe, all

Two things are compared, as the number of targets and the loss over them to the fifth digit:

- `ewe train --template` of the marked template, with the marks that `transformers` finds. They must
  be equal.
- `ewe train --template` of the published one, which has no marks, with those of the marked one,
  where both write the same text. Where they differ, the marks are shown: TRL leaves out line breaks
  behind an end token in some templates and not in others.

The tokenizer has a token for each byte, and one for each special token that the template writes.
Needs requirements-dev.txt and a built binary.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from check_templates import mean_loss, read_lines
from tokenizer_zoo import save
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

EWE = Path("target/debug/ewe")
SPECIAL = re.compile(r"<\|[^<>|]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</?[a-z_]{2,30}>")


def say(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def conversations():
    """Returns conversations by what they try."""
    two = say(("user", "Name a colour."), ("assistant", "Blue."), ("user", "  Another?\n"), ("assistant", "Grün, 羊\n\nor red."))
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "sum", "arguments": {"a": 1, "b": "x"}}}],
    }
    thought = {"role": "assistant", "content": "Six.", "reasoning_content": "Two times three."}
    return {
        "one": say(("user", "Hello there."), ("assistant", "Hello! How are you?")),
        "two": two,
        "system": [*say(("system", "Be brief.")), *two],
        "spaces": say(("user", "a"), ("assistant", "  b \n"), ("user", "c"), ("assistant", "\nd")),
        "calls": [*say(("user", "Add.")), call, *say(("tool", "7"), ("assistant", "It is 7."), ("user", "So?"), ("assistant", "Yes."))],
        "thoughts": [*say(("user", "2 * 3?")), thought, *say(("user", "And?"),), thought],
    }


def tokenizer_of(texts):
    """Returns a tokenizer with a token for each byte and each special token of templates."""
    specials = sorted({"<bos>", "<eos>", *(token for text in texts for token in SPECIAL.findall(text))})
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(specials + letters)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    return tok


def make(tok, folder):
    torch.manual_seed(1)
    save(tok, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>"}, folder)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=tok.get_vocab_size(), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=8192, initializer_range=0.4,
        bos_token_id=tok.token_to_id("<bos>"), eos_token_id=tok.token_to_id("<eos>"),
    )).save_pretrained(folder)  # fmt: skip


class Pair:
    """A published template, and the one that TRL trains with."""

    def __init__(self, published, folder):
        self.name = published.stem
        self.published = published.read_text()
        self.marked = published.with_name(f"{self.name}_training.jinja").read_text()
        self.folder, self.base = folder, folder / "base"
        self.tok = tokenizer_of([self.published, self.marked])
        make(self.tok, self.base)
        self.tokenizer = AutoTokenizer.from_pretrained(self.base)
        self.model = AutoModelForCausalLM.from_pretrained(self.base, dtype="float32").eval()

    def marks(self, messages):
        """Returns the text of the marked template, its tokens, and which of them are targets."""
        compiled = _compile_jinja_template(self.marked)
        text, spans = _render_with_assistant_indices(compiled, messages, None, None, False, **self.tokenizer.special_tokens_map)
        encoded = self.tok.encode(text, add_special_tokens=False)
        ids, mask = list(encoded.ids), [any(start < to and end > at for at, to in spans) for start, end in encoded.offsets]
        if not text.rstrip().endswith(tuple(SPECIAL.findall(text)[-1:]) or "\0"):
            ids, mask = [*ids, self.tokenizer.eos_token_id], [*mask, True]
        return text, ids, mask

    def trained(self, template, messages, name):
        """Returns targets and loss of the first step of `ewe train`, or what it says instead."""
        data, path, out = self.folder / "rows.jsonl", self.folder / "template.jinja", self.folder / name
        data.write_text(json.dumps({"messages": messages}) + "\n")
        path.write_text(template)
        command = [EWE, "-q", "train", "--model", self.base, "--data", data, "--out", out, "--template", path, "--steps", "1",
                   "--eval-fraction", "0", "--precision", "fp32", "--warmup-steps", "0", "--reasoning", "keep"]  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            return None, done.stderr.strip()
        row = read_lines(out / "metrics.jsonl")[0]
        return row["target_tokens"], row["loss"]

    def compare(self):
        """Yields (what was compared, how it came out, what there is to say)."""
        for what, messages in conversations().items():
            try:
                text, ids, mask = self.marks(messages)
            except Exception as error:  # A template that refuses the conversation.
                yield what, "refused by TRL's", str(error).splitlines()[0]
                continue
            mean, count = mean_loss(self.model, [(ids, mask)])
            equal = lambda got: got[0] == count and abs(got[1] - mean) <= 2e-5 * mean
            got = self.trained(self.marked, messages, f"marked-{what}")
            yield f"{what}, marked", "equal" if equal(got) else "differs", f"{got}, want {(count, mean)}"
            try:
                plain = self.tokenizer.apply_chat_template(messages, chat_template=self.published, tokenize=False)
            except Exception as error:
                yield f"{what}, published", "refused", str(error).splitlines()[0]
                continue
            if plain != text:
                yield f"{what}, published", "other text", ""
                continue
            got = self.trained(self.published, messages, f"published-{what}")
            shown = re.sub(r"\s+", " ", "".join(f"[{self.tok.id_to_token(i)}]" if m else "·" for i, m in zip(ids, mask)))
            yield f"{what}, published", "equal" if equal(got) else "differs", f"{got}, want {(count, mean)}: {shown[-200:]}"


def main():
    global EWE
    arguments = sys.argv[1:]
    if arguments and Path(arguments[0]).is_file():
        EWE = Path(arguments.pop(0))
    spec = importlib.util.find_spec("trl")
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    names = [path for path in sorted(folder.glob("*.jinja")) if path.with_name(f"{path.stem}_training.jinja").exists()]
    counts, failed = {}, 0
    for path in names:
        if arguments and path.stem not in arguments:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            for what, came, detail in Pair(path, Path(scratch)).compare():
                kind = f"{what.split(', ')[-1]}: {came}" if ", " in what else came
                counts[kind] = counts.get(kind, 0) + 1
                if came == "differs":
                    failed += what.endswith("marked")
                    print(f"{path.stem}, {what} {came}: {detail}", flush=True)
                elif arguments:
                    print(f"{path.stem}, {what}: {came} {detail}", flush=True)
    print(json.dumps(counts, indent=1))
    return 1 if failed or not counts else 0


if __name__ == "__main__":
    sys.exit(main())

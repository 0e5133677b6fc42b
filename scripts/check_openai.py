#!/usr/bin/env python3
"""Sends requests to `ewe serve` with the `openai` client, and compares texts and logprobs with
`transformers`.

    .venv/bin/python scripts/check_openai.py             # a tiny model
    .venv/bin/python scripts/check_openai.py --gemma     # also models/gemma-3-270m

Needs requirements-dev.txt and built binaries.
"""

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import openai
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target" / "debug" / "ewe"


class Server:
    def __init__(self, model, *options):
        command = [EWE, "serve", "--bind", "127.0.0.1:0", "--token", "open sesame", "--dtype", "fp32", "--model", model, *options]
        self.process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        print(line.strip())
        self.url = re.search(r"http://\S+/v1", line).group()

    def __enter__(self):
        return openai.OpenAI(base_url=self.url, api_key="open sesame", max_retries=0)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def reference(model, ids, steps):
    """Returns the greedy continuation, and the log-probabilities of all tokens at each step."""
    ids, logprobs = list(ids), []
    with torch.no_grad():
        for _ in range(steps):
            logprobs.append(torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1))
            ids.append(int(logprobs[-1].argmax()))
    return ids[-steps:], logprobs


def expect(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")
    print(f"  {what}")


def fails(call, kind, **attributes):
    try:
        call()
    except kind as error:
        for name, value in attributes.items():
            expect(getattr(error, name) == value, f"{kind.__name__}: {name} is {value!r}")
        return
    raise SystemExit(f"FAILED: no {kind.__name__}")


def check(path, prompt, steps):
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids = tokenizer(prompt)["input_ids"]
    want, logprobs = reference(model, ids, steps)
    with Server(path) as client:
        name = client.models.list().data[0].id
        expect(client.models.retrieve(name).id == name, f"the model is {name}")
        ask = dict(model=name, prompt=prompt, max_tokens=steps, temperature=0, logprobs=5)
        whole = client.completions.create(**ask)
        choice = whole.choices[0]
        expect(choice.text == tokenizer.decode(want, skip_special_tokens=True), f"greedy text is transformers': {choice.text!r}")
        told = choice.logprobs
        apart = max(abs(mine - float(theirs[token])) for mine, theirs, token in zip(told.token_logprobs, logprobs, want))
        expect(len(told.tokens) == steps and apart < 1e-3, f"logprobs of its {steps} tokens are apart by at most {apart:.1e}")
        tops = [sorted(top.values(), reverse=True) for top in told.top_logprobs]
        apart = max(abs(mine - theirs) for top, all_of in zip(tops, logprobs) for mine, theirs in zip(top, all_of.topk(5).values.tolist()))
        expect(apart < 1e-3, f"those of the five likeliest by at most {apart:.1e}")
        # Logprobs are those of the model, before penalties and temperature.
        bent = client.completions.create(**{**ask, "temperature": 1.5, "presence_penalty": 2, "seed": 3, "extra_body": {"repetition_penalty": 1.5, "top_k": 50}})
        apart = max(abs(a - b) for a, b in zip(sorted(bent.choices[0].logprobs.top_logprobs[0].values(), reverse=True), tops[0]))
        expect(apart < 1e-3, f"with penalties and temperature {bent.choices[0].text!r}, and the same logprobs for the first token")

        pieces = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
        expect("".join(p.choices[0].text for p in pieces if p.choices) == choice.text, f"streamed in {len(pieces)} pieces, the same text")
        streamed = [x for p in pieces if p.choices and p.choices[0].logprobs for x in p.choices[0].logprobs.token_logprobs]
        expect(max(abs(a - b) for a, b in zip(streamed, told.token_logprobs)) < 1e-3 and len(streamed) == steps, "and the same logprobs")
        expect(pieces[-1].usage == whole.usage and whole.usage.completion_tokens == steps, f"and the same usage: {whole.usage.total_tokens} tokens")

        several = client.completions.create(model=name, prompt=[prompt, ids], n=2, max_tokens=8, seed=11)
        texts = [c.text for c in several.choices]
        expect(len(texts) == 4 and texts[:2] == texts[2:], f"two prompts, one in token ids, two choices each: {texts[:2]}")
        stop = choice.text[2:4]
        stopped = client.completions.create(**{**ask, "stop": [stop]}).choices[0]
        expect((stopped.text, stopped.finish_reason) == (choice.text[: choice.text.find(stop)], "stop"), f"ends before {stop!r}: {stopped.text!r}")
        expect(client.completions.create(**{**ask, "logprobs": None, "echo": True}).choices[0].text == prompt + choice.text, "echo")

        fails(lambda: client.completions.create(model=name, prompt="x", suffix="y"), openai.BadRequestError, param="suffix", code="unsupported_parameter")
        long = [ids[-1]] * 200_000
        fails(lambda: client.completions.create(model=name, prompt=long), openai.BadRequestError, code="context_length_exceeded", param="prompt")
        fails(lambda: client.with_options(api_key="wrong").models.list(), openai.AuthenticationError, code="invalid_api_key")
        fails(lambda: client.models.retrieve("gpt-9"), openai.NotFoundError, code="model_not_found")

        # A client that closes its stream early.
        stream = client.completions.create(**{**ask, "max_tokens": 60, "stream": True})
        next(iter(stream))
        stream.close()
        expect(client.completions.create(**ask).choices[0].text == choice.text, "after a stream that was closed early, the same text")


def check_chat(path):
    with Server(path) as client:
        name = client.models.list().data[0].id
        ask = dict(model=name, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a farm animal."}],
                   max_completion_tokens=24, seed=5, logprobs=True, top_logprobs=3)
        whole = client.chat.completions.create(**ask)
        choice = whole.choices[0]
        expect(choice.message.role == "assistant" and choice.message.content, f"chat answers {choice.message.content!r}")
        content = choice.logprobs.content
        joined = b"".join(bytes(token.bytes) for token in content).decode(errors="replace")
        expect(choice.message.content in joined, f"the bytes of its {len(content)} tokens join to it")
        expect(all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in content), "three likeliest for each")
        expect(all(math.fsum(math.exp(t.logprob) for t in token.top_logprobs) <= 1 + 1e-4 for token in content), "whose probabilities are at most 1")
        pieces = list(client.chat.completions.create(**ask, stream=True))
        expect("".join(p.choices[0].delta.content or "" for p in pieces) == choice.message.content, f"streamed in {len(pieces)} pieces, the same")
        fails(lambda: client.chat.completions.create(model=name, messages=[{"role": "robot", "content": "x"}]), openai.BadRequestError, param="messages[0].role")


TEMPLATE = (
    "{% if tools %}{% for tool in tools %}t{{ tool.function.name }}{% endfor %}{% endif %}{% for m in messages %}{{ m.role[0] }}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.arguments | tojson }}</tool_call>{% endfor %}\n{% endfor %}a"
)

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "size": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["kind", "size"],
    "additionalProperties": False,
}

TOOL = {"type": "function", "function": {"name": "measure", "description": "measures", "parameters": SCHEMA}}


def writing_json(folder):
    """Makes a tiny model whose vocabulary has the letters of JSON, with a template that takes tools."""
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(ROOT / "tests" / "golden" / "gemma3" / file, folder / file)
    config = json.loads((folder / "config.json").read_text())
    config |= {"max_position_embeddings": 2048, "eos_token_id": 95}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for letter in "{}[]\"\\-_<>/":
        vocabulary[letter] = len(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def fits(text):
    value = json.loads(text)
    return set(value) == {"kind", "size"} and value["kind"] in ("a", "b") and value["size"] in range(100)


def check_formats(path):
    """Structured outputs, tools and adapters, by the `openai` client."""
    lora = ROOT / "tests" / "golden" / "gemma3_lora"
    with Server(path, "--adapter", f"lora={lora}", "--served-model-name", "base") as client:
        ask = dict(messages=[{"role": "user", "content": "the"}], max_tokens=400, seed=4)
        for model in ["base", "lora"]:
            expect(model in [card.id for card in client.models.list().data], f"{model} is listed")
            strict = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
            answer = client.chat.completions.create(model=model, response_format=strict, **ask)
            expect(answer.model == model and fits(answer.choices[0].message.content), f"{model} writes {answer.choices[0].message.content!r}")
            named = {"type": "function", "function": {"name": "measure"}}
            answer = client.chat.completions.create(model=model, tools=[TOOL], tool_choice=named, **ask).choices[0]
            call = answer.message.tool_calls[0]
            expect(call.function.name == "measure" and fits(call.function.arguments), f"and calls measure({call.function.arguments})")
            pieces = client.chat.completions.create(model=model, tools=[TOOL], tool_choice="required", stream=True, **ask)
            parts = [c for p in pieces for c in p.choices[0].delta.tool_calls or [] if c.index == 0]
            expect(fits("".join(part.function.arguments for part in parts)), f"streamed in {len(parts)} parts, too")
            said = ask["messages"] + [answer.message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
            more = client.chat.completions.create(model=model, tools=[TOOL], **(ask | {"messages": said, "max_tokens": 3}))
            expect(more.choices[0].message.role == "assistant", "and goes on behind the result")
        broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "strin"}}}
        fails(lambda: client.chat.completions.create(model="base", response_format=broken, **ask), openai.BadRequestError, param="response_format.json_schema.schema.type")
        fails(lambda: client.embeddings.create(model="base", input="x"), openai.InternalServerError, code="unsupported_endpoint")
        # What Open WebUI sends beside the messages.
        webui = client.chat.completions.create(
            model="base", stream=True, stream_options={"include_usage": True}, temperature=0.8, top_p=0.9, frequency_penalty=0.1,
            presence_penalty=0.1, seed=1, stop=["zz"], max_tokens=5, logit_bias={"5": 1}, user="x", messages=ask["messages"], tools=[TOOL],
            tool_choice="auto", reasoning_effort=None, extra_body={"min_p": 0.1, "top_k": 5, "repeat_penalty": 1.1, "session_id": "s"})
        expect(list(webui)[-1].usage.completion_tokens == 5, "the parameters of Open WebUI are taken")


def check_litellm(path):
    """The same by LiteLLM, if it is installed: `pip install litellm`."""
    try:
        import litellm
    except ImportError:
        print("  litellm is not installed, and not checked")
        return
    with Server(path) as client:
        ask = dict(model="openai/any", api_base=str(client.base_url), api_key="open sesame", max_tokens=400, seed=4,
                   messages=[{"role": "user", "content": "the"}])
        strict = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
        answer = litellm.completion(response_format=strict, **ask)
        expect(fits(answer.choices[0].message.content), "LiteLLM: an answer in its format")
        answer = litellm.completion(tools=[TOOL], tool_choice="required", **ask)
        expect(fits(answer.choices[0].message.tool_calls[0].function.arguments), "LiteLLM: a call")
        text = "".join(piece.choices[0].delta.content or "" for piece in litellm.completion(stream=True, **(ask | {"max_tokens": 9})))
        expect(text, f"LiteLLM: a stream, {text!r}")


def main():
    check(ROOT / "tests" / "golden" / "gemma3", "the", 16)
    with tempfile.TemporaryDirectory() as folder:
        path = writing_json(Path(folder))
        check_formats(path)
        check_litellm(path)
    if "--gemma" in sys.argv:
        gemma = ROOT / "models" / "gemma-3-270m"
        check(gemma, "Three colours of the rainbow are", 16)
        check_chat(gemma)
    print("ok")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Sends requests to `ewe serve` with the clients of others, each in its own ways: whole and streamed,
with tools, structured output, asynchronously. Says of each what came back, and fails if the server
refuses one.

    python3 -m venv clients
    clients/bin/pip install openai litellm mcp instructor langchain-openai llama-index-llms-openai-like \\
        'pydantic-ai-slim[openai]' outlines
    clients/bin/python scripts/check_clients.py --model DIR|FILE.gguf
    clients/bin/python scripts/check_clients.py --url http://127.0.0.1:8000/v1 --key TOKEN --only langchain

Clients that are not installed are left out. Needs a built `ewe` unless there is a URL. The model may know nothing: it
is forced where the result must have a form, and otherwise only accepted requests count.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterable, Literal, Optional

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import openai
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parent.parent

# A template that reads tools, as Qwen's does.
TEMPLATE = """{%- if tools %}<|im_start|>system
Tools:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call one with <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% endif %}{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class Animal(BaseModel):
    """An animal."""

    kind: Literal["sheep", "goat"]
    age: int = Field(ge=0, le=99)
    note: Optional[str] = Field(None, max_length=10)


class Herd(BaseModel):
    animals: list[Animal] = Field(min_length=1, max_length=2)
    place: str = Field(max_length=12)


ASK = [{"role": "user", "content": "Describe a herd."}]
NAMED = {"type": "function", "function": {"name": "herd"}}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class To:
    """Where the server is."""

    def __init__(self, url, key):
        self.url, self.key = url, key
        self.client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=600)
        self.model = self.client.models.list().data[0].id
        self.ask = dict(model=self.model, messages=ASK, seed=2)
        self.tool = openai.pydantic_function_tool(Herd, name="herd")
        self.litellm = dict(api_base=url, api_key=key, messages=ASK, seed=2, num_retries=0, timeout=600)
        self.langchain = dict(base_url=url, api_key=key, model=self.model, max_retries=0, seed=2, timeout=600)


@check
def openai_every_parameter(to):
    said = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "name": "ada", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": " you"}]},
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, *ASK]
    return to.client.chat.completions.create(
        model=to.model, messages=said, max_completion_tokens=12, seed=1, store=False, metadata={"a": "b"}, user="x", service_tier="auto",
        safety_identifier="y", prompt_cache_key="z", temperature=0.5, top_p=0.9, presence_penalty=0, frequency_penalty=0, logit_bias={}, n=1,
        stop=None, logprobs=True, top_logprobs=2, modalities=["text"], verbosity="medium", reasoning_effort="none",
        response_format={"type": "text"}, extra_body={"top_k": 5, "min_p": 0.1}).choices[0].message.content


@check
def openai_parses(to):
    return to.client.chat.completions.parse(**to.ask, max_tokens=400, response_format=Herd).choices[0].message.parsed


@check
def openai_parses_calls(to):
    answer = to.client.chat.completions.parse(**to.ask, max_tokens=400, tools=[to.tool], tool_choice="required", parallel_tool_calls=False)
    message = answer.choices[0].message
    said = [*ASK, message.model_dump(), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": [{"type": "text", "text": "5"}]}]
    to.client.chat.completions.create(model=to.model, messages=said, max_tokens=3, tools=[to.tool])
    return message.tool_calls[0].function.parsed_arguments


@check
def openai_allows_tools(to):
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    return to.client.chat.completions.create(**to.ask, max_tokens=400, tools=[to.tool], tool_choice=allowed).choices[0].finish_reason


@check
def openai_streams(to):
    options = {"include_usage": True, "include_obfuscation": True}
    with to.client.chat.completions.stream(**to.ask, max_tokens=400, response_format=Herd, stream_options=options) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    with to.client.chat.completions.stream(**to.ask, max_tokens=400, tools=[to.tool], tool_choice=NAMED) as stream:
        called = stream.get_final_completion().choices[0].message.tool_calls[0].function.parsed_arguments
    return final.choices[0].message.parsed, final.usage.total_tokens, called, sorted(kinds)


@check
def openai_asynchronously(to):
    async def several():
        client = openai.AsyncOpenAI(base_url=to.url, api_key=to.key, max_retries=0)
        return await asyncio.gather(*[client.chat.completions.create(**to.ask, max_tokens=8) for _ in range(8)])

    return len(asyncio.run(several()))


@check
def openai_gives_up(to):
    try:
        to.client.with_options(timeout=0.05).chat.completions.create(**to.ask, max_tokens=400)
    except openai.APITimeoutError:
        return "timed out"


@check
def openai_is_told_what_is_not_there(to):
    said = []
    for call in [lambda: to.client.responses.create(model=to.model, input="x"), lambda: to.client.embeddings.create(model=to.model, input="x")]:
        try:
            call()
        except openai.APIStatusError as error:
            said.append((error.status_code, error.code))
    assert said == [(404, "unsupported_endpoint"), (501, "unsupported_endpoint")], said
    return said


for provider in ["openai", "hosted_vllm", "lm_studio", "llamafile"]:
    @check
    def litellm_answers(to, provider=provider):
        import litellm

        ask = dict(model=f"{provider}/{to.model}", **to.litellm)
        text = litellm.completion(max_tokens=6, **ask).choices[0].message.content
        parsed = Herd.model_validate_json(litellm.completion(response_format=Herd, max_tokens=400, **ask).choices[0].message.content)
        return provider, text, parsed

    @check
    def litellm_calls(to, provider=provider):
        import litellm

        ask = dict(model=f"{provider}/{to.model}", tools=[to.tool], **to.litellm)
        message = litellm.completion(tool_choice="required", max_tokens=400, **ask).choices[0].message
        said = [*ASK, message.model_dump(), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "name": "herd", "content": "5"}]
        litellm.completion(max_tokens=3, **(ask | {"messages": said}))
        pieces = list(litellm.completion(tool_choice="required", stream=True, max_tokens=400, **ask))
        joined = litellm.stream_chunk_builder(pieces, messages=ASK).choices[0].message.tool_calls[0].function.arguments
        assert joined == message.tool_calls[0].function.arguments
        return provider, joined


for mode in ["TOOLS", "TOOLS_STRICT", "JSON", "JSON_SCHEMA", "MD_JSON", "PARALLEL_TOOLS"]:
    @check
    def instructor_asks(to, mode=mode):
        import instructor

        client = instructor.from_openai(to.client, mode=getattr(instructor.Mode, mode))
        model = Iterable[Herd] if mode == "PARALLEL_TOOLS" else Herd
        return mode, client.chat.completions.create(**to.ask, response_model=model, max_tokens=400, max_retries=0)


@check
def langchain_answers(to):
    import langchain_openai

    llm = langchain_openai.ChatOpenAI(**to.langchain, max_tokens=5)
    pieces = list(langchain_openai.ChatOpenAI(**to.langchain, max_tokens=5, stream_usage=True).stream("b"))
    return llm.invoke([("system", "a"), ("user", "b")]).usage_metadata["output_tokens"], len(pieces), len(llm.batch(["a", "b"]))


for method in ["function_calling", "json_schema", "json_mode"]:
    @check
    def langchain_structures(to, method=method):
        import langchain_openai

        llm = langchain_openai.ChatOpenAI(**to.langchain, max_tokens=400)
        return method, llm.with_structured_output(Herd, method=method, include_raw=True).invoke("Give JSON.")["parsed"]


for shape in ["is_function_calling_model", "should_use_structured_outputs"]:
    @check
    def llama_index_structures(to, shape=shape):
        from llama_index.core.prompts import PromptTemplate
        from llama_index.llms.openai_like import OpenAILike

        llm = OpenAILike(model=to.model, api_base=to.url, api_key=to.key, is_chat_model=True, max_tokens=400, max_retries=0, timeout=600,
                         **{shape: True})
        return str(llm.complete("a"))[:20], llm.structured_predict(Herd, PromptTemplate("a"))


for output in ["ToolOutput", "NativeOutput", "PromptedOutput"]:
    @check
    def pydantic_ai_structures(to, output=output):
        import pydantic_ai
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel(to.model, provider=OpenAIProvider(base_url=to.url, api_key=to.key))
        kind = getattr(pydantic_ai, output)(Herd)
        settings = {"max_tokens": 400, "seed": 2, "temperature": 0.3}
        return output, pydantic_ai.Agent(model, output_type=kind, model_settings=settings, retries=0).run_sync("hi").output


@check
def outlines_constrains(to):
    import outlines

    model = outlines.from_vllm(to.client, to.model)
    number = model("a", outlines.regex("[0-9]{3}"), max_tokens=30)
    assert re.fullmatch("[0-9]{3}", number), number
    return number, model("a", Literal["yes", "no"], max_tokens=30)


# What a model that knows little writes is no fault of the server: an answer that a library cannot
# use, a limit of tokens.
REFUSED = re.compile(r"\b(400|401|403|404|405|408|413|415|422|429|500|501|503)\b|onnection error|Connect")


def run(to, only):
    failed = []
    for function in CHECKS:
        name = function.__name__
        more = [str(value) for value in function.__defaults__ or ()]
        label = " ".join([name, *more])
        if only and not any(word in label for word in only):
            continue
        try:
            print(f"ok       {label}: {str(function(to))[:100]!r}", flush=True)
        except ImportError as error:
            print(f"missing  {label}: {error}")
        except Exception as error:
            words = f"{type(error).__name__}: {error}".replace("\n", " ")
            is_ours = isinstance(error, AssertionError) or "error code" in words.lower() or "BadRequest" in words or "HTTPError" in words
            if is_ours or (REFUSED.search(words) and "validation" not in words):
                failed.append(label)
                print(f"FAILED   {label}: {words[:300]}", flush=True)
            else:
                print(f"no use   {label}: {words[:100]}", flush=True)
    if failed:
        raise SystemExit(f"{len(failed)} failed: {', '.join(failed)}")
    print("ok")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", help="what to serve")
    options.add_argument("--url", help="a server that runs already")
    options.add_argument("--key", default="open sesame")
    options.add_argument("--only", nargs="*", default=[], help="words in the names of checks")
    options.add_argument("--ewe", default=ROOT / "target" / "debug" / "ewe")
    chosen = options.parse_args()
    if chosen.url:
        return run(To(chosen.url, chosen.key), chosen.only)
    if not chosen.model:
        options.error("--model or --url is needed")
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
        template.write(TEMPLATE)
        template.flush()
        command = [chosen.ewe, "serve", "--bind", "127.0.0.1:0", "--token", chosen.key, "--model", chosen.model, "--template", template.name]
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
            try:
                line = process.stderr.readline()
                print(line.strip())
                run(To(re.search(r"http://\S+/v1", line).group(), chosen.key), chosen.only)
            finally:
                process.kill()


if __name__ == "__main__":
    sys.exit(main())

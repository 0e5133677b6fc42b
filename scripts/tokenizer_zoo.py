"""Small tokenizers of every class that the supported model families use. They have at most 96
tokens, to fit the tiny models of make_goldens.py.

- Byte-level BPE with the patterns of GPT-2, Llama 3 and Qwen, with and without a prefix space.
- SentencePiece BPE like Llama 2 (a space in front of every section of text between special tokens),
  Mistral 7B v0.1 (only in front of the first) and Gemma (none).
- With special tokens added before a text, after it, both, and neither.
"""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

TEXT = "abcdefghijklmnopqrstuvwxyzBEINRSTW0123456789.,:?!'#[/]()|<>_-"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_level(specials, pattern=None, prefix_space=False, normalizer=None):
    """Returns a byte-level BPE, with `pattern` instead of GPT-2's."""
    letters = {" ": "Ġ", "\n": "Ċ"}
    pieces = [letters.get(char, char) for char in TEXT + " \nç¾Ĭ"]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "t"), ("Ġ", "1"), ("e", "r"), (":", "Ċ"), ("?", "!")]
    vocab = {token: i for i, token in enumerate(specials + pieces + [a + b for a, b in merges])}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    if normalizer:
        tok.normalizer = normalizer
    if pattern:
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)])
    else:
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tok.decoder = decoders.ByteLevel()
    return finished(tok, specials)


def sentencepiece(specials, normalizer=None, pre_tokenizer=None, strip=True):
    """Returns a BPE with ▁ for spaces, and bytes for characters without a token."""
    merges = [("t", "h"), ("th", "e"), ("▁", "t"), ("▁", "the"), ("▁", "a"), ("e", "r")]
    pieces = list(TEXT) + ["▁"] + [a + b for a, b in merges]
    pieces += ["<0x0A>", "<0xE7>", "<0xBE>", "<0x8A>"]
    vocab = {token: i for i, token in enumerate(specials + pieces)}
    # `<unk>` is the first of the special tokens.
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=specials[0], fuse_unk=True, byte_fallback=True))
    if normalizer:
        tok.normalizer = normalizer
    if pre_tokenizer:
        tok.pre_tokenizer = pre_tokenizer
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tok.decoder = decoders.Sequence(parts + ([decoders.Strip(content=" ", left=1)] if strip else []))
    return finished(tok, specials)


def finished(tok, specials):
    tok.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    assert tok.get_vocab_size() <= 96, tok.get_vocab_size()
    return tok


def around(tok, template):
    """Returns a post-processor that adds special tokens around a text."""
    names = [word for word in template.split() if word != "$A"]
    return processors.TemplateProcessing(single=template, special_tokens=[(name, tok.token_to_id(name)) for name in names])


def zoo():
    """Returns all tokenizers as (name, tokenizer, fields of tokenizer_config.json)."""
    made = []

    def add(name, tok, post=None, also=None, **config):
        if post:
            post = around(tok, post)
            tok.post_processor = processors.Sequence([also, post]) if also else post
        elif also:
            tok.post_processor = also
        # Not `LlamaTokenizer`: in transformers 5 it replaces the file's normalizer by its own
        # pre-tokenizer, and so encodes text after a special token differently from the file.
        made.append((name, tok, {"tokenizer_class": "PreTrainedTokenizerFast"} | config))

    bytes_ = processors.ByteLevel(trim_offsets=True)
    add("gptj", byte_level(["<|endoftext|>"]), also=bytes_, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    neox = byte_level(["<|endoftext|>"], normalizer=normalizers.NFC(), prefix_space=True)
    add("neox_prefix_space", neox, also=bytes_, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    add("bytes_eos", byte_level(["<s>", "</s>"]), "$A </s>", bos_token="<s>", eos_token="</s>")
    add("bytes_both", byte_level(["<s>", "</s>"]), "<s> $A </s>", bos_token="<s>", eos_token="</s>")
    roberta = byte_level(["<s>", "</s>"], prefix_space=True)
    roberta.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    add("roberta", roberta, bos_token="<s>", eos_token="</s>")
    header = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    add("llama3", byte_level(header, LLAMA3), "<|begin_of_text|> $A", bytes_, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    chatml = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    add("qwen", byte_level(chatml, QWEN, normalizer=normalizers.NFC()), also=processors.ByteLevel(trim_offsets=False), eos_token="<|im_end|>")
    add("qwen_base", byte_level(chatml, QWEN, normalizer=normalizers.NFC()), also=processors.ByteLevel(trim_offsets=False),
        eos_token="<|endoftext|>")
    llama2 = lambda: sentencepiece(["<unk>", "<s>", "</s>"], normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))
    add("llama2", llama2(), "<s> $A", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    add("llama2_eos", llama2(), "<s> $A </s>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    metaspace = lambda scheme: sentencepiece(
        ["<unk>", "<s>", "</s>"], pre_tokenizer=pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False))
    add("mistral", metaspace("first"), "<s> $A", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    add("mistral_eos", metaspace("first"), "$A </s>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    add("metaspace_always", metaspace("always"), "<s> $A", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    gemma = sentencepiece(["<unk>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], normalizers.Replace(" ", "▁"),
                          pre_tokenizers.Split(" ", "merged_with_previous"), strip=False)
    add("gemma", gemma, "<bos> $A", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")
    return made


def marked(tokenizer, tok, messages, template=None):
    """Returns of each token of a conversation whether it overlaps the parts that the template marks
    by `{% generation %}`. The parts are found by `transformers`. Its own masks are not used,
    because byte-level post-processors trim the offsets they come from to words, which loses an
    answer that begins with white space. `tok` is the tokenizer without a post-processor."""
    from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

    compiled = _compile_jinja_template(template or tokenizer.get_chat_template())
    text, spans = _render_with_assistant_indices(compiled, messages, None, None, False, **tokenizer.special_tokens_map)
    offsets = tok.encode(text, add_special_tokens=False).offsets
    return [any(start < to and (end > at or start >= at) for at, to in spans) for start, end in offsets]


def save(tok, config, directory):
    directory.mkdir(parents=True, exist_ok=True)
    tok.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


# Chat templates in the style of published ones. Each uses the special tokens of one tokenizer, or
# none.
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "inst": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}",
    "zephyr": "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    "header": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim"
    " + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "turns": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim"
    " + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    # Writes no end after a message, and a special token in front of the answer.
    "bare": "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ bos_token + m['content'] }}{% else %}{{ m['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ bos_token }}{% endif %}",
    # The targets are the answer, but neither its heading nor the newline after it. Without the mark
    # there would be no common prefix, because the generation prompt differs.
    "marked": "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ 'it:' }}{% generation %}{{ m['content'] + eos_token }}"
    "{% endgeneration %}{{ '\\n' }}{% else %}{{ m['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'it: <' }}{% endif %}",
}

#!/usr/bin/env python3
"""Writes the golden files of the model tests: tiny random checkpoints and the results of
`transformers` with them.

    .venv/bin/python scripts/make_goldens.py            # tests/golden/{gptj,gemma3,…}
    .venv/bin/python scripts/make_goldens.py olmo2      # those of one function
    .venv/bin/python scripts/make_goldens.py --gemma    # tests/golden/gemma_greedy.json

Needs transformers (requirements-dev.txt), and with --gemma models/gemma-3-270m. Everything is fp32
and seeded: running it again changes nothing.
"""

import datetime
import json
import random
import sys
from collections import OrderedDict
from pathlib import Path

import jinja2
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, Gemma3Config, Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, GPTJConfig, GPTJForCausalLM,
    GPTNeoXConfig, GPTNeoXForCausalLM, GraniteConfig, GraniteForCausalLM, LlamaConfig, LlamaForCausalLM, MinistralConfig,
    MinistralForCausalLM, MistralConfig, MistralForCausalLM, Olmo2Config, Olmo2ForCausalLM, Phi3Config, Phi3ForCausalLM,
    Qwen2Config, GPT2Tokenizer, PreTrainedTokenizerFast, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig,
    Qwen3MoeForCausalLM, SmolLM3Config, SmolLM3ForCausalLM, StableLmConfig, StableLmForCausalLM,
)

from tokenizer_zoo import TEMPLATES, marked, save, zoo

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
VOCAB = 96


def tokenizer(directory, bos):
    """Writes a byte-level BPE of the printable ASCII characters, a few merges and the bytes of é
    and 羊."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    wanted = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("ABCDEFGHIJKLMNOPQRST.,:?!'#\n0123456789 ")
    encode = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    pieces = []
    for char in wanted + ["é", "羊"]:
        for piece in "".join(p for p, _ in encode(char)):
            if piece in alphabet and piece not in pieces:
                pieces.append(piece)
    specials = ["<eos>", "<bos>"]
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "t"), ("e", "r")]
    vocab = {token: i for i, token in enumerate(specials + pieces + [a + b for a, b in merges])}
    assert len(vocab) <= VOCAB, len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.add_special_tokens(specials)
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    if bos:
        tok.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
        )
    tok.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return tok


def randomise(model, seed):
    """Sets weights large enough for every part of the model to change the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.3 if parameter.dim() == 1 else 1.5 / parameter.shape[-1] ** 0.5
            noise = torch.randn(parameter.shape, generator=generator) * scale
            # Gemma's norms store the difference from 1.
            is_norm = "ln_" in name or "norm" in name and "gemma" not in model.config.model_type
            parameter.copy_(noise + 1 if is_norm and name.endswith("weight") else noise)


def with_old_keys(config):
    """Replaces `rope_parameters` by the keys that configurations had before it."""
    settings = config.pop("rope_parameters")
    if config["model_type"] == "gpt_neox":
        config |= {"rotary_emb_base": settings["rope_theta"], "rotary_pct": settings["partial_rotary_factor"]}
    else:
        config["rope_theta"] = settings.pop("rope_theta")
        config["rope_scaling"] = settings


def write(name, model, bos, seed, old_buffers=False, old_config=False):
    directory = GOLDEN / name
    directory.mkdir(parents=True, exist_ok=True)
    randomise(model, seed)
    model.eval()
    tied = model.config.tie_word_embeddings
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
    if old_buffers:
        # Buffers that checkpoints of 2021 contain.
        paths = {"gptj": "transformer.h.{}.attn", "gpt_neox": "gpt_neox.layers.{}.attention"}
        for layer in range(model.config.num_hidden_layers):
            path = paths[model.config.model_type].format(layer)
            tensors[f"{path}.bias"] = torch.ones(1, 1, 2, 2, dtype=torch.bool)
            tensors[f"{path}.masked_bias"] = torch.tensor(-1e9)
    tensors = published_experts(tensors)
    if old_config:
        head = "embed_out" if model.config.model_type == "gpt_neox" else "lm_head"
        tensors = {k.replace("lm_head", head): v for k, v in tensors.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("transformers_version", None)
    if old_config:
        with_old_keys(config)
    (directory / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    tok = tokenizer(directory, bos)

    expect(directory, model, tok, seed)


def published_experts(tensors):
    """Splits experts, which `transformers` 5 joins in memory, into the matrices of published
    checkpoints."""
    parts = {}
    for name, tensor in tensors.items():
        path, _, kind = name.rpartition(".")
        if not path.endswith(".experts"):
            parts[name] = tensor
            continue
        for expert, matrix in enumerate(tensor):
            halves = {"gate_proj": matrix.chunk(2)[0], "up_proj": matrix.chunk(2)[1]} if kind == "gate_up_proj" else {kind: matrix}
            parts |= {f"{path}.{expert}.{part}.weight": half.contiguous() for part, half in halves.items()}
    return parts


def expect(directory, model, tok, seed):
    """Writes logits, greedy text and scores of a model."""
    generator = torch.Generator().manual_seed(seed + 1)
    tokens = torch.randint(2, VOCAB - 4, (2, 24), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=tokens).logits
    prompts = ["the inner thing", "Q: where?\nA:", "t", "in the end, the other thing is this:"]
    greedy = []
    for prompt in prompts:
        ids = tok.encode(prompt).ids
        with torch.no_grad():
            out = model.generate(
                input_ids=torch.tensor([ids]), max_new_tokens=32, do_sample=False, eos_token_id=0, pad_token_id=0,
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            )[0].tolist()
        greedy.append({"prompt": prompt, "ids": ids, "new": out[len(ids):], "text": tok.decode(out[len(ids):])})
    score = []
    for prompt, completion in [("the ", "inner thing"), ("in the end", ", this"), ("a", "")]:
        head, tail = tok.encode(prompt).ids, tok.encode(completion, add_special_tokens=False).ids
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([head + tail])).logits[0].double().log_softmax(-1)
        nll = -sum(logprobs[len(head) - 1 + i, token].item() for i, token in enumerate(tail))
        score.append({"prompt": prompt, "completion": completion, "tokens": len(tail), "nll": nll})
    expected = {"tokens": tokens, "logits": logits.contiguous()}
    if not (directory / "adapter_config.json").exists():
        expected |= in_bf16(directory, seed)
    save_file(expected, directory / "expected.safetensors")
    (directory / "expected.json").write_text(json.dumps({"greedy": greedy, "score": score}, indent=1) + "\n")


def in_bf16(directory, seed):
    """Returns the likeliest token at 4096 positions in bf16, and where the two best scores are at
    most two steps apart, so that rounding decides between them."""
    tokens = torch.randint(2, VOCAB - 4, (64, 64), generator=torch.Generator().manual_seed(seed + 2))
    with torch.no_grad():
        # Loaded in bf16 as usual. `.to` would also round the rotary frequencies.
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
        logits = model(input_ids=tokens).logits
    best = logits.float().topk(2).values
    step = 2.0 ** (best[..., 0].abs().log2().floor() - 7)
    return {
        "tokens16": tokens.to(torch.uint8), "best16": logits.argmax(-1).to(torch.uint8),
        "tied16": (best[..., 0] - best[..., 1] <= 2 * step).to(torch.uint8),
    }


def write_adapter(name, base, seed):
    """Writes a LoRA adapter in PEFT's format, and the results of the base model with it."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(GOLDEN / base, dtype=torch.float32)
    config = LoraConfig(r=2, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    model = get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in sorted(model.named_parameters()):
            if "lora_" in key:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    directory = GOLDEN / name
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    # Paths of this machine and the random order of sets do not belong in the repository.
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    expect(directory, model, Tokenizer.from_file(str(GOLDEN / base / "tokenizer.json")), seed)


def strangers():
    """Writes checkpoints and adapters as other programs save them, and the likelihoods that
    `transformers` gives to some texts with them."""
    from peft import LoraConfig, get_peft_model

    # Tied by its configuration, but with another head in the file, which `transformers` 5 then
    # uses.
    head = GOLDEN / "strangers" / "tied_other_head"
    head.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=0, tie_word_embeddings=True)  # fmt: skip
    write("strangers/tied_other_head", LlamaForCausalLM(config), bos=True, seed=40)
    tensors = load_file(head / "model.safetensors")
    tensors["lm_head.weight"] = torch.randn(VOCAB, 16, generator=torch.Generator().manual_seed(41))
    save_file(tensors, head / "model.safetensors", metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(head, dtype=torch.float32).eval()
    expect(head, model, Tokenizer.from_file(str(head / "tokenizer.json")), 40)
    (head / "expected.safetensors").unlink()
    # It also gets settings that only matter in training, and a padding token beyond the embedding,
    # which `transformers` cannot load.
    config = json.loads((head / "config.json").read_text())
    config |= {"attention_dropout": 0.1, "pad_token_id": VOCAB}
    (head / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    tok = json.loads((head / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for token in range(len(tok["model"]["vocab"]), VOCAB + 1):
        tok["added_tokens"].append({"id": token, "content": "<pad>" if token == VOCAB else f"<unused{token}>", **plain})
    (head / "tokenizer.json").write_text(json.dumps(tok, indent=2, ensure_ascii=False))

    blocks = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    cases = {
        "patterns_in_bin": ("llama3", dict(
            target_modules=blocks, use_rslora=True, rank_pattern={"q_proj": 4, "layers.1.mlp.down_proj": 1},
            alpha_pattern={"v_proj": 1, ".*\\.k_proj": 9})),
        "tied_ends": ("gemma3", dict(target_modules=["q_proj", "lm_head", "embed_tokens"])),
        "saved_ends": ("llama3", dict(target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])),
        "saved_embedding": ("llama3", dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"])),
        "saved_norms": ("mistral", dict(target_modules=["down_proj"], modules_to_save=["norm"])),
        "same_embedding": ("llama3", dict(target_modules=blocks)),
        "untied_head": ("neox", dict(target_modules=["query_key_value", "lm_head"], use_dora=True)),
    }  # fmt: skip
    for seed, (name, (base, settings)) in enumerate(cases.items(), 50):
        directory = GOLDEN / "strangers" / name
        directory.mkdir(parents=True, exist_ok=True)
        model = AutoModelForCausalLM.from_pretrained(GOLDEN / base, dtype=torch.float32)
        torch.manual_seed(seed)
        model = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, task_type="CAUSAL_LM", **settings)).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, parameter in sorted(model.named_parameters()):
                if "lora_" in key or ".modules_to_save." in key:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        save_as = {"save_embedding_layers": True} if name == "same_embedding" else {}
        in_bin = name == "patterns_in_bin"
        model.save_pretrained(directory, safe_serialization=True, **save_as)
        (directory / "README.md").unlink(missing_ok=True)
        if in_bin:
            torch.save(load_file(directory / "adapter_model.safetensors"), directory / "adapter_model.bin")
            (directory / "adapter_model.safetensors").unlink()
        path = directory / "adapter_config.json"
        config = json.loads(path.read_text())
        config["base_model_name_or_path"] = base
        config["target_modules"] = sorted(config["target_modules"])
        path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        # Loaded from its files, as users do, instead of the model in memory.
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(GOLDEN / base, dtype=torch.float32), directory).eval()
        expect(directory, loaded, Tokenizer.from_file(str(GOLDEN / base / "tokenizer.json")), seed)
        (directory / "expected.safetensors").unlink()


def tiny():
    write(
        "gptj",
        GPTJForCausalLM(GPTJConfig(
            vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=2, rotary_dim=8, n_inner=48,
            bos_token_id=1, eos_token_id=0,
        )),
        bos=False, seed=1, old_buffers=True,
    )
    # Two key/value heads for four query heads, a window of 6 in sequences of 24 tokens, one full
    # layer, a head size other than hidden/heads, and a query scale other than the head size.
    gemma = dict(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, max_position_embeddings=64,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        bos_token_id=1, eos_token_id=0, pad_token_id=0,
    )
    write("gemma3", Gemma3ForCausalLM(Gemma3TextConfig(**gemma)), bos=True, seed=2)
    untied = dict(gemma, tie_word_embeddings=False, num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"],
                  rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                   "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})
    write_adapter("gemma3_lora", "gemma3", seed=4)
    write("gemma3_untied", Gemma3ForCausalLM(Gemma3TextConfig(**untied)), bos=True, seed=3)
    llama_family()
    neox()
    olmo2()
    for family in (smollm3, phi3, gemma2, gemma3_vision, granite, stablelm, ministral, gpt2, qwen3_moe):
        family()
    torch_files()
    gpt2_files()
    chats()
    tokenizers_of_every_class()
    strangers()


def llama_family():
    # All but one have fewer key/value heads than query heads; some have a head size other than
    # hidden/heads.
    base = dict(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=0,
    )
    rope = lambda kind, **more: {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **more}}
    llama = lambda **more: LlamaForCausalLM(LlamaConfig(**base | more))
    write("llama", llama(num_key_value_heads=4), bos=True, seed=10)
    # Like Llama 3.2: tied, with wavelengths below, within and above the interpolated range.
    scaled = rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    write("llama3", llama(tie_word_embeddings=True, head_dim=16, **scaled), bos=True, seed=11, old_config=True)
    biased = llama(attention_bias=True, mlp_bias=True, hidden_act="gelu", **rope("linear", factor=4.0))
    write("llama_biased", biased, bos=False, seed=12)
    write("llama_dynamic", llama(num_hidden_layers=1, **rope("dynamic", factor=2.0)), bos=True, seed=13)
    write("mistral", MistralForCausalLM(MistralConfig(**base, sliding_window=6)), bos=True, seed=14)
    # The second layer has a sliding window, in sequences of 24 tokens.
    sliding = dict(use_sliding_window=True, sliding_window=6, max_window_layers=1)
    write("qwen2", Qwen2ForCausalLM(Qwen2Config(**base, tie_word_embeddings=True, **sliding)), bos=False, seed=15)
    write("qwen3", Qwen3ForCausalLM(Qwen3Config(**base, head_dim=16, tie_word_embeddings=True)), bos=False, seed=16)
    write("qwen3_biased", Qwen3ForCausalLM(Qwen3Config(
        **base, head_dim=12, attention_bias=True, use_sliding_window=True, sliding_window=5,
        layer_types=["sliding_attention", "full_attention"],
    )), bos=False, seed=17)


def neox():
    base = dict(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
    )
    make = lambda **more: GPTNeoXForCausalLM(GPTNeoXConfig(**base | more))
    part = lambda part, **more: {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": part, **more}}
    write("neox", make(**part(0.25)), bos=False, seed=20, old_buffers=True, old_config=True)
    serial = dict(use_parallel_residual=False, attention_bias=False, hidden_act="gelu_fast")
    write("neox_serial", make(**serial, **part(1.0, rope_type="linear", factor=2.0)), bos=False, seed=21)
    write("neox_tied", make(num_hidden_layers=1, tie_word_embeddings=True, **part(0.5)), bos=False, seed=22)


def olmo2():
    # The padding token is one that no training example has.
    write("olmo2", Olmo2ForCausalLM(Olmo2Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=0, pad_token_id=0,
    )), bos=False, seed=23)


# Sizes of the families below.
SMALL = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=0, pad_token_id=0,
)


def smollm3():
    write("smollm3", SmolLM3ForCausalLM(SmolLM3Config(**SMALL, no_rope_layers=[1, 0])), bos=False, seed=50)


def phi3():
    # Half of a head is rotated, with frequencies for a longer context than the tests read.
    factors = dict(short_factor=[1.0, 1.25], long_factor=[2.0, 4.0], rope_type="longrope", rope_theta=1e4)
    write("phi3", Phi3ForCausalLM(Phi3Config(
        **SMALL | dict(max_position_embeddings=256), original_max_position_embeddings=64, sliding_window=6,
        rope_parameters=factors | dict(partial_rotary_factor=0.5),
    )), bos=True, seed=51)


def gemma2():
    # Caps that scores and logits reach.
    write("gemma2", Gemma2ForCausalLM(Gemma2Config(
        **SMALL, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    )), bos=True, seed=52)


def gemma3_vision():
    """Writes a checkpoint of text and images, as newer versions of `transformers` name its tensors."""
    text = dict(SMALL, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, layer_types=["sliding_attention", "full_attention"])
    vision = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)
    write("gemma3_vision", Gemma3ForConditionalGeneration(Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=1, boi_token_index=90, eoi_token_index=91,
        image_token_index=92, bos_token_id=1, eos_token_id=0, pad_token_id=0,
    )), bos=True, seed=53)


def granite():
    write("granite", GraniteForCausalLM(GraniteConfig(
        **SMALL, embedding_multiplier=3.0, residual_multiplier=0.22, attention_multiplier=0.2, logits_scaling=1.7,
        tie_word_embeddings=True,
    )), bos=False, seed=54)


def stablelm():
    part = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}}
    make = lambda **more: StableLmForCausalLM(StableLmConfig(**SMALL, **part, **more))
    write("stablelm", make(use_qkv_bias=True), bos=False, seed=55)
    write("stablelm_parallel", make(use_parallel_residual=True, qk_layernorm=True), bos=False, seed=56)


def ministral():
    write("ministral", MinistralForCausalLM(MinistralConfig(
        **SMALL, head_dim=16, sliding_window=6, layer_types=["sliding_attention", "full_attention"],
    )), bos=True, seed=57)


def gpt2():
    write("gpt2", GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=4, n_inner=48, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=1, eos_token_id=0, pad_token_id=0,
    )), bos=False, seed=58)


def qwen3_moe():
    write("qwen3_moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(
        **SMALL, head_dim=16, moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
    )), bos=False, seed=59)


def torch_files():
    """Writes files of torch.save: views, types and wrappers in both of its formats, and a model in
    two shards."""
    directory = GOLDEN / "torch_files"
    directory.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(30)
    base = torch.randn(6, 5, generator=generator)
    tensors = OrderedDict(
        plain=base, transposed=base.t(), row=base[3], block=base[1:4, 2:5], every_other=base.flatten()[1::2],
        repeated=base[0].expand(3, 5), half=base.half(), bf16=base.bfloat16(), double=base.double(),
        parameter=torch.nn.Parameter(base + 1), scalar=torch.tensor(2.5), empty=torch.zeros(0, 4),
        counter=torch.arange(3), mask=torch.ones(2, 2, dtype=torch.bool), note="no tensor",
    )
    # Metadata that state_dict() attaches.
    tensors._metadata = OrderedDict([("", {"version": 1})])
    torch.save(tensors, directory / "zip.bin")
    torch.save(dict(tensors), directory / "protocol4.bin", pickle_protocol=4)
    # The legacy format names storages by their addresses, which differ from run to run.
    if not (directory / "legacy.bin").exists():
        torch.save(tensors, directory / "legacy.bin", _use_new_zipfile_serialization=False)
    floats = {k: v.detach().float().contiguous() for k, v in tensors.items() if torch.is_tensor(v) and v.is_floating_point()}
    save_file({k: v.clone() for k, v in floats.items()}, directory / "expected.safetensors")

    # The layout of large checkpoints before safetensors, with the names that some have.
    model = load_file(GOLDEN / "neox" / "model.safetensors")
    shards = {"pytorch_model-00001-of-00002.bin": {}, "pytorch_model-00002-of-00002.bin": {}}
    for name, tensor in sorted(model.items()):
        shards["pytorch_model-00001-of-00002.bin" if "layers.0" in name else "pytorch_model-00002-of-00002.bin"][name] = tensor
    for file, part in shards.items():
        torch.save(part, directory / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def gpt2_files():
    """Writes a small byte-level BPE in GPT-2's two files, and the ids of hostile texts."""
    directory = GOLDEN / "gpt2_files"
    directory.mkdir(exist_ok=True)
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    sample = "It's the first of many; they'll say we've 12 sheep, 345 ewes and 6.7 lambs. Don't you think I'd know? \n\n\tEnd"
    words = [sample, sample.upper(), "naïve café — “quoted” … 羊毛 écru ÿ", "    def f(x):\n        return x  # what\n", "1000 10000"] * 3
    tok.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    ))
    tok.model.save(str(directory))
    first = tok.get_vocab_size()
    added = {f"<|extratoken_{i}|>": first + i - 1 for i in range(1, 4)}
    (directory / "added_tokens.json").write_text(json.dumps(added) + "\n")
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "unk_token": {
        "__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False,
    }}
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    pieces = [
        " ", "  ", "\n", "\r\n", "\t", "\x00", "\x7f", "\u00a0", "\u200b", "\u2028", "\ufeff", "\u3000", "'s", "'LL", "’t", "don't", "a", "Ab",
        "sheep", "12", "345,6", "½", "²", "é", "e\u0301", "ﬁ", "羊", "羊毛", "かな", "한글", "שלום", "مرحبا", "ไทย", "हिन्दी", "👩‍👩‍👧", "🏳️‍🌈", "\U0010ffff",
        "\ufffd", "<|endoftext|>", "<|endoftext", " <|endoftext|>", "<|extratoken_1|>", "<|extratoken_3|> ", "Ġ", "Ċ", "<s>", "--", "!!!", "…", "_x_", "\\n",
    ]
    chosen = random.Random(7)
    texts = ["", *pieces] + ["".join(chosen.choices(pieces, k=chosen.randint(2, 9))) for _ in range(360)]
    reference = GPT2Tokenizer.from_pretrained(directory)
    cases = []
    for text in texts:
        ids = reference(text)["input_ids"]
        cases.append({"text": text, "ids": ids, "decoded": reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)})
    (directory / "expected.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


def chats():
    """Writes the results of apply_chat_template with the templates in tests/golden/chat."""
    from transformers.utils import chat_template_utils

    class Clock(datetime.datetime):
        @classmethod
        def now(cls):
            return cls(2026, 3, 7, 9, 5)

    chat_template_utils.datetime = Clock
    directory = GOLDEN / "chat"
    tok = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    say = lambda *turns: [{"role": role, "content": content} for role, content in turns]
    exchanges = [
        say(("user", "Hi")),
        say(("system", " Be brief.\n"), ("user", "  Why is <b>this</b> & 'that' \"so\"?\n"), ("assistant", "Because.\n"), ("user", "羊?\n\n")),
        say(("user", "one"), ("assistant", "<think>\nlet me see\n</think>\n\ntwo"), ("user", "three"), ("assistant", "four")),
        say(("user", "a"), ("user", "b")),
        say(("system", "s"), ("assistant", "first")),
        say(("user", "{{ bos_token }} {% raw %}"), ("assistant", "")),
        say(("tool", "7"), ("user", "x")),
    ]
    # The same answers with their reasoning in a field, and without it: the template decides.
    thought = say(("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
    exchanges.append(thought)
    exchanges.append([message if message["role"] == "user" else {**message, "reasoning_content": f"so it is {message['content']}"} for message in thought])
    cases = []
    for template in sorted(directory.glob("*.jinja")):
        for messages in exchanges:
            for opening in (True, False):
                case = {"template": template.name, "messages": messages, "opening": opening, "text": None, "error": None}
                try:
                    case["text"] = tok.apply_chat_template(
                        messages, chat_template=template.read_text(), tokenize=False, add_generation_prompt=opening)
                except jinja2.exceptions.TemplateError as error:
                    case["error"] = str(error)
                cases.append(case)
    (directory / "expected.json").write_text("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")


def tokenizers_of_every_class():
    """Writes tokenizers of every class, and how `transformers` encodes rows and conversations with
    them: the ids of each text, and which of them belong to the answer."""
    for name, tok, config in zoo():
        directory = GOLDEN / "tokenizers" / name
        save(tok, config, directory)
        expected = encodings(AutoTokenizer.from_pretrained(directory), tok)
        cases = "".join(f" {json.dumps(key)}: [\n  " + ",\n  ".join(map(json.dumps, rows)) + "\n ],\n" for key, rows in expected.items())
        (directory / "expected.json").write_text("{\n" + cases.rstrip(",\n") + "\n}\n")
    for name, template in TEMPLATES.items():
        (GOLDEN / "tokenizers" / f"{name}.jinja").write_text(template)


PAIRS = [("the 1", "the 1"), ("the ", "the"), ("a:", "\n1"), ("the", " 1"), ("a?", "!b"), ("is it", " 羊 1"), (" a", "b"), ("\n", "1"), ("", "the"), ("the 1", "")]
PREAMBLE = "Below is an instruction that describes a task{}. Write a response that appropriately completes the request."
PAIRED = ", paired with an input that provides further context"


def published(name, instruction, input):
    """Returns the prompt that Alpaca or Dolly was trained with, and the end of its answers."""
    if name == "alpaca":
        context = f"\n\n### Input:\n{input}" if input else ""
        return PREAMBLE.format(PAIRED if input else "") + f"\n\n### Instruction:\n{instruction}{context}\n\n### Response:", ""
    context = f"\n\nInput:\n{input}" if input else ""
    return PREAMBLE.format("") + f"\n\n### Instruction:\n{instruction}{context}\n\n### Response:\n", "\n\n### End"


def encodings(reference, tok):
    """Returns the expected encodings. `reference` is the tokenizer of `transformers`, and `tok` the
    same without a post-processor, because post-processors trim offsets to words."""
    tok.post_processor = None
    eos = reference.eos_token_id
    front_of = reference("a")["input_ids"].index(reference("a", add_special_tokens=False)["input_ids"][0])

    def begun(text):
        """Returns the ids of a text with the special tokens before it, but not those after it."""
        return reference(text)["input_ids"][: front_of + len(reference(text, add_special_tokens=False)["input_ids"])]

    def first_in(text, cut, front):
        """Returns the index of the first token that reaches beyond the first `cut` characters."""
        offsets = tok.encode(text, add_special_tokens=False).offsets
        return front + next((n for n, (start, end) in enumerate(offsets) if end > cut or start >= cut), len(offsets))

    def row(prompt, answer, end):
        text = prompt + answer + end
        ids = begun(text)
        return {"ids": ids + [eos], "first": first_in(text, len(prompt), front_of), "prompt": begun(prompt)}

    expected = {"plain": [], "rows": [], "chats": []}
    for prompt, answer in PAIRS:
        expected["plain"].append({"user": prompt, "answer": answer} | row(prompt, answer, ""))
    for name in ("alpaca", "dolly"):
        for instruction, input, answer in [("Name it.", "", "the 1"), ("the", "a 1\n", "1"), ("a", "", "\nit: 羊")]:
            prompt, end = published(name, instruction, input)
            expected["rows"].append({"template": name, "user": instruction, "input": input, "answer": answer} | row(prompt, answer, end))
    say = lambda *turns: [{"role": role, "content": content} for role, content in turns]
    conversations = [
        say(("user", "the 1"), ("assistant", "1")),
        say(("system", "be it"), ("user", "a"), ("assistant", " the\n")),
        say(("user", "a"), ("assistant", "1"), ("user", "\n the"), ("assistant", "羊 1")),
    ]
    special = set(tok.get_added_tokens_decoder())
    for name, template in TEMPLATES.items():
        render = lambda messages, **more: reference.apply_chat_template(messages, chat_template=template, **more)
        if name == "header" and reference.bos_token is None:
            continue
        for messages in conversations:
            case = {"template": name, "messages": messages}
            expected["chats"].append(case)
            try:
                text = render(messages, tokenize=False)
            except jinja2.exceptions.TemplateError as error:
                case["error"] = str(error)
                continue
            ids, learnt = list(render(messages, return_dict=True)["input_ids"]), []
            if name == "marked":
                said = [False] + marked(reference, tok, messages, template) + [False]
                edges = [n for n in range(len(said) - 1) if said[n] != said[n + 1]]
                learnt = [edges[n : n + 2] for n in range(0, len(edges), 2)]
            else:
                for n, message in enumerate(messages):
                    if message["role"] == "assistant":
                        opened = render(messages[:n], tokenize=False, add_generation_prompt=True)
                        closed = render(messages[: n + 1], tokenize=False)
                        assert text.startswith(opened) and text.startswith(closed)
                        learnt.append([first_in(text, len(opened), 0), first_in(text, len(closed), 0)])
            # If the template writes no special token after an answer, training adds an end token.
            probe = render(say(("user", "q"), ("assistant", "zz")), tokenize=False)
            behind = probe[probe.rindex("zz") + 2 :]
            if not special & set(reference(behind, add_special_tokens=False)["input_ids"]):
                ids.append(eos)
                learnt[-1][1] += 1
            case |= {"ids": ids, "learnt": learnt, "prompt": list(render(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"])}
    return expected


PROMPTS = [
    "Come up with a series of tasks:\n\nTask 1: Write a haiku about the sea.\nTask 2:",
    "The capital of France is",
    "Water boils at 100 degrees because",
    "def fibonacci(n):\n",
    "Once upon a time, in a village by the river,",
    "Translate English to French.\nsea otter => loutre de mer\ncheese =>",
    "Ingredients:\n- 2 eggs\n- 100 g sugar\n",
    "Dear Sir or Madam,\n\nI am writing to",
    "Question: What is the largest planet?\nAnswer:",
    "Die Geschichte der Schafzucht beginnt",
]


def real_gemma():
    directory = ROOT / "models" / "gemma-3-270m"
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(directory)
    # fp32, because in 16 bits the order of additions breaks near-ties, and no two programs agree
    # for long.
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    rows = []
    for prompt in PROMPTS:
        inputs = tok(prompt, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=128, do_sample=False)[0, inputs["input_ids"].shape[1]:]
        rows.append({"prompt": prompt, "new": out.tolist(), "text": tok.decode(out, skip_special_tokens=True)})
    (GOLDEN / "gemma_greedy.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or ["tiny"]:
        globals()[{"--gemma": "real_gemma"}.get(name, name)]()

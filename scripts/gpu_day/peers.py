"""The same work by other tools, as a process of its own: `python peers.py WORK.json`. Prints one
line of JSON.

Only this file imports torch, transformers, peft, bitsandbytes and vLLM, and only when it runs.
Weights are random and made on the device.
"""

import json
import random
import sys
import time
from pathlib import Path

# Steps that are not timed, and those that are.
WARM_UP, TIMED = 2, 4


def gptj(work):
    """Makes the model in bf16 on the device."""
    import torch
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(**{k: v for k, v in work["config"].items() if k not in ("model_type", "architectures", "torch_dtype")})
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(work["device"]):
        model = GPTJForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model


def rows(work, count, length):
    chance = random.Random(1)
    return [[chance.randrange(2, work["config"]["vocab_size"]) for _ in range(length)] for _ in range(count)]


def peak(device):
    import torch

    return torch.cuda.max_memory_allocated() if device != "cpu" else None


def train(work):
    """Hugging Face's Trainer with 8-bit AdamW of bitsandbytes where that is installed, else
    Adafactor; or an adapter of rank 16 on every linear layer."""
    import torch
    import transformers

    model = gptj(work)
    optimizer = "adamw_torch"
    if work["method"] == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    else:
        try:
            import bitsandbytes  # noqa: F401

            optimizer = "adamw_bnb_8bit"
        except ImportError:
            optimizer = "adafactor"
    examples = work["examples"]
    data = [{"input_ids": ids, "labels": ids} for ids in rows(work, examples, work["length"])] * (WARM_UP + TIMED)
    times = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            if work["device"] != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    # At most 8192 tokens at once.
    at_once = max(1, min(examples, 8192 // work["length"]))
    arguments = transformers.TrainingArguments(
        output_dir=work["folder"], per_device_train_batch_size=at_once, gradient_accumulation_steps=max(1, examples // at_once),
        max_steps=WARM_UP + TIMED, optim=optimizer, learning_rate=1e-5, bf16=True, use_cpu=work["device"] == "cpu", save_strategy="no",
        report_to=[], disable_tqdm=True, logging_strategy="no", dataloader_num_workers=0,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=data, data_collator=transformers.default_data_collator, callbacks=[Clock()]
    )
    trainer.train()
    seconds = (times[-1] - times[WARM_UP - 1]) / TIMED
    tokens = examples * work["length"]
    return {"optimizer": optimizer, "tokens": tokens, "tokens_per_s": tokens / seconds, "memory": peak(work["device"]), "version": transformers.__version__}


def generate(work):
    """`generate` of transformers with its default attention, eager."""
    import torch
    import transformers

    model = gptj(work).eval()
    runs = []
    for count in work["sequences"]:
        ids = torch.tensor(rows(work, count, work["prompt"]), device=work["device"])
        made = work["generated"]
        how = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "pad_token_id": 0}
        with torch.inference_mode():
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, min_new_tokens=4, **how)
            begun = time.perf_counter()
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=made, min_new_tokens=made, **how)
            # Reading waits for the device.
            assert out[:, -1].sum().item() >= 0 and out.shape[1] == work["prompt"] + made
        runs.append({"sequences": count, "tokens_per_s": count * made / (time.perf_counter() - begun)})
    return {"runs": runs, "memory": peak(work["device"]), "version": transformers.__version__}


def with_vllm(work):
    """vLLM's offline engine with its defaults, CUDA graphs included."""
    import vllm

    folder = Path(work["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(work["config"]))
    length = work["prompt"] + work["generated"]
    model = vllm.LLM(
        model=str(folder), load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_model_len=length, disable_log_stats=True
    )
    sampling = vllm.SamplingParams(temperature=0.7, top_p=0.9, max_tokens=work["generated"], ignore_eos=True, detokenize=False)
    runs = []
    for count in work["sequences"]:
        prompts = [{"prompt_token_ids": ids} for ids in rows(work, count, work["prompt"])]
        model.generate(prompts, vllm.SamplingParams(max_tokens=4, ignore_eos=True, detokenize=False), use_tqdm=False)
        begun = time.perf_counter()
        answers = model.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - begun
        made = sum(len(of.outputs[0].token_ids) for of in answers)
        runs.append({"sequences": count, "tokens_per_s": made / seconds})
    return {"runs": runs, "version": vllm.__version__}


def main():
    work = json.loads(Path(sys.argv[1]).read_text())
    result = {"train": train, "generate": generate, "vllm": with_vllm}[work["what"]](work)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

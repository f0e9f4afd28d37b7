"""What the interpreter accepts, a compiler may not. Oracle: Triton's compiler and ptxas, for compute capability 9.0."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed (the dev extra brings it on Linux x86-64)")

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2] / "src" / "lexiscope" / "saes" / "kernels" / "triton"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the other tests compile the kernels for the GPU that is there")
def test_every_kernel_compiles_for_a_gpu(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, HERE / "compile_kernels.py"],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    written = set(
        re.findall(r"^def (\w+_kernel)\(", "".join(file.read_text() for file in PACKAGE.glob("*.py")), re.MULTILINE)
    )
    assert set(done.stdout.split()) == written

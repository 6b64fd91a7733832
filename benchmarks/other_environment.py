"""Comparison with neural-tangents, which needs an environment of its own."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import bench_relu_ntk, harness
from benchmarks.harness import Row
from lazyrich.kernels import relu_ntk

SCRIPT = Path(__file__).with_name("neural_tangents_timings.py")


def rows(python: Path, quick: bool = False) -> list[Row]:
    """Our infinitely wide ReLU kernel against the one of neural-tangents.

    Nothing is promised here: the two run in different processes, one after the other.

    Args:
        python: interpreter of the environment described in ``benchmarks/README.md``.
        quick: fewer rounds.

    Raises:
        ValueError: there is no such interpreter.
        RuntimeError: neural-tangents failed in it; says with what.
    """
    if not python.is_file():
        raise ValueError(f"python must be an interpreter, got no file {python}")
    depth, rounds = bench_relu_ntk.DEPTH, 2 if quick else 5
    x = bench_relu_ntk._inputs(1000)
    ours = harness.cpu_time(lambda: relu_ntk(x, depth=depth), rounds)
    with tempfile.TemporaryDirectory() as folder:
        inputs, kernel = Path(folder) / "x.npy", Path(folder) / "ntk.npy"
        np.save(inputs, x.numpy(), allow_pickle=False)
        run = subprocess.run(
            [
                str(python),
                str(SCRIPT),
                str(inputs),
                str(depth),
                str(rounds),
                str(kernel),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            last = run.stderr.strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"neural-tangents failed: {last[0]}")
        found = json.loads(run.stdout.splitlines()[-1])
        theirs = torch.from_numpy(np.load(kernel, allow_pickle=False))
    theta = relu_ntk(x, depth=depth)[1]
    agreed = float(((theirs - theta).abs() / theta.diagonal()[0]).max())
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    return [
        Row(
            name=f"relu_ntk n={len(x)} depth={depth}, against neural-tangents, {how}",
            ours=ours,
            peer=seconds,
            ratio=seconds / ours,
            note=f"{versions}; Theta differs by {agreed:.1g} of its diagonal",
        )
        for how, seconds in found["seconds"].items()
    ]

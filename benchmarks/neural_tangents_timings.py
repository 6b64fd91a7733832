"""Run by the interpreter of the extra environment: neural-tangents on given inputs.

    python neural_tangents_timings.py INPUTS.npy DEPTH ROUNDS KERNEL.npy

Prints median CPU seconds as JSON and writes the tangent kernel, on one core in float64.
"""

import json
import os
import statistics
import sys
import time

os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax  # noqa: E402  # pyright: ignore[reportMissingImports]
import numpy as np  # noqa: E402
from neural_tangents import stax  # noqa: E402  # pyright: ignore[reportMissingImports]

jax.config.update("jax_enable_x64", True)


def main() -> None:
    """Time the infinite-width kernel with and without compilation."""
    x = jax.numpy.asarray(np.load(sys.argv[1], allow_pickle=False))
    depth, rounds = int(sys.argv[2]), int(sys.argv[3])
    layers = [stax.Dense(1, W_std=1.0, b_std=None)]
    for _ in range(depth - 1):
        layers += [stax.Relu(), stax.Dense(1, W_std=1.0, b_std=None)]
    _, _, kernel = stax.serial(*layers)
    calls = {
        "plain": lambda: kernel(x, None, ("nngp", "ntk")),
        "compiled": jax.jit(lambda: kernel(x, None, ("nngp", "ntk"))),
    }
    seconds = {}
    for name, call in calls.items():
        jax.block_until_ready(call())
        times = []
        for _ in range(rounds):
            start = time.process_time()
            found = jax.block_until_ready(call())
            times.append(time.process_time() - start)
        seconds[name] = statistics.median(times)
    np.save(sys.argv[4], np.asarray(found.ntk), allow_pickle=False)
    versions = {"jax": jax.__version__, "numpy": np.__version__}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()

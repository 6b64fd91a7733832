"""A study that is quick, sensitive to the last bit, and able to misbehave on demand.

A member iterates the logistic map from a start that depends on its coordinates. The map
is chaotic: after 60 steps a single wrong bit has changed every digit.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import xarray as xr

from lazyrich import sweeps

STEPS = 60


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Settings that change its manners: pause, save, length, noise, fail, die, log."""
    settings = chunk.settings
    h = chunk.shared("h")
    if "log" in settings:
        with Path(settings["log"]).open("a") as log:
            log.write(f"{len(chunk)}\n")
    if settings.get("fail") == h:
        raise RuntimeError("this width is made to fail")
    _die_once(settings.get("die"))
    saved = checkpoint.load() if settings.get("save") else None
    x = 0.3 + 0.01 * chunk.axis("alpha") + 0.001 * chunk.axis("seed") + 0.0001 * h
    curve = np.zeros((len(chunk), STEPS))
    start = 0
    if saved is not None:
        x, curve, start = saved["x"], saved["curve"], saved["step"]
    for step in range(start, STEPS):
        x = 3.99 * x * (1 - x)
        curve[:, step] = x
        time.sleep(settings.get("pause", 0) / STEPS)
        if settings.get("save") and step % 10 == 9:
            checkpoint.save({"x": x, "curve": curve, "step": step + 1})
    ended = np.where(x > 0.9, "truncated: at the top", "fitted")
    length = settings.get("length", 5) + h
    return xr.Dataset(
        {
            "end": ("member", x),
            "curve": (("member", "step"), curve),
            "short": (
                ("member", "time"),
                np.tile(np.arange(float(length)), (len(x), 1)),
            ),
            "count": ("member", (100 * x).astype(np.int64)),
            "status": ("member", ended),
            "noise": (("member", "sample"), _noise(len(x), settings.get("noise", 0))),
        },
        coords={"step": np.arange(STEPS)},
        attrs={"note": "toy"},
    )


def _noise(members: int, size: int) -> np.ndarray:
    """Ballast that does not compress."""
    return np.random.default_rng(0).standard_normal((members, size))


def _die_once(flag: str | None) -> None:
    """Kill this very process, the first time that it is asked to."""
    if flag is not None:
        try:
            Path(flag).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def cost(member: sweeps.Member, scale: sweeps.Scale) -> float:
    return float(member["h"]) * scale.settings.get("seconds", 0.01)


def study(
    h=(3, 5), alpha=(0.1, 1.0, 10.0), seed=(0, 1, 2), size=4, version=1, **settings
) -> sweeps.Study:
    scale = sweeps.Scale({"h": h, "alpha": alpha, "seed": seed}, settings)
    wide = sweeps.Scale({"h": h, "alpha": alpha, "seed": (*seed, 77)}, settings)
    return sweeps.Study(
        name="toy",
        title="logistic maps",
        version=version,
        scales={"laptop": scale, "paper": wide},
        measure=measure,
        chunk_axes=("alpha", "seed"),
        cost=cost,
        chunk_size={"cpu": size, "cuda": 4 * size},
    )


STUDY = study()


def run_in_child(settings: dict, folder: str, cluster: str | None, disk: float) -> None:
    """Run the study in this process, on a disk that pauses within every file."""
    real = Path.open

    def slow_open(path: Path, *args, **options):
        file = real(path, *args, **options)
        return _SlowFile(file, disk) if args[:1] == ("wb",) else file

    if disk:
        Path.open = slow_open  # type: ignore[method-assign]
    sweeps.run(study(**settings), store=folder, cluster=cluster, progress=False)


class _SlowFile:
    """A file that rests when half of what it is given is written."""

    def __init__(self, file, pause: float) -> None:
        self.file, self.pause = file, pause

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def write(self, content: bytes) -> None:
        half = len(content) // 2
        self.file.write(content[:half])
        self.file.flush()
        time.sleep(self.pause)
        self.file.write(content[half:])

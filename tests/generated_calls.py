"""Calls of the public library with generated arguments, and what must hold of each.

Arguments are made by *name*: ``VALID`` has one recipe for each name that the library
uses, whatever function it belongs to, and ``SPECIAL`` the few functions in which a name
means something else. A call takes valid arguments, and in most calls one or two of them
are then spoiled in a way that fits their kind (``spoiled``). Everything follows from one
seed.

A call either gives a result that keeps the laws of ``broken_laws``, or it is refused by a
TypeError or ValueError (or another type that the docstring states) that names an argument.
Either way arguments and the state of the process stay as they were.

    python tests/generated_calls.py 4000 0    # so many calls, from this seed
"""

import contextlib
import importlib
import inspect
import math
import random
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich import data, dynamics, kernels, losses, meanfield, networks, sweeps

LAYERS = ("kernels", "networks", "dynamics", "meanfield", "data", "losses", "theory")
SECONDS = 20.0
"""No call may take longer."""

REFUSALS = (TypeError, ValueError)


class TooLong(BaseException):
    """Raised by the alarm; no ``except Exception`` of a call may catch it."""


# ------------------------------------------------------------------ the world of a call


@dataclass
class World:
    """Sizes and draws of one call, so that its arguments fit together."""

    rng: random.Random
    n: int = 0
    m: int = 0
    d: int = 0
    h: int = 0
    points: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        self.n, self.m = self.rng.randint(2, 6), self.rng.randint(1, 4)
        self.d, self.h = self.rng.randint(1, 4), self.rng.randint(2, 5)
        self.generator = torch.Generator().manual_seed(self.rng.getrandbits(32))
        self.points = self.normal(self.n, self.d)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def signs(self) -> Tensor:
        y = torch.sign(self.normal(self.n))
        return torch.where(y == 0, 1.0, y)

    def gram(self, n: int | None = None) -> Tensor:
        """A kernel; one in three is singular."""
        n = self.n if n is None else n
        rank = max(1, n - 2) if self.rng.random() < 0.33 else n + 2
        a = self.normal(n, rank)
        return a @ a.mT / rank

    def masses(self, n: int) -> Tensor:
        p = self.uniform(n) + 0.1
        return p / p.sum()

    def net(self) -> Any:
        return self.rng.choice(
            [
                networks.FullyConnected(d=self.d, h=self.h, L=self.rng.randint(1, 2)),
                networks.MLP((self.d, self.h, 1)),
                networks.Shallow(d=self.d, h=self.h),
            ]
        )

    def unit(self) -> Any:
        return self.rng.choice(
            [
                meanfield.Neuron(self.d),
                meanfield.Neuron(self.d, readout=False),
                meanfield.Bump(self.d, width=1.0),
            ]
        )

    def model(self) -> meanfield.MeanField:
        return meanfield.MeanField(self.unit(), self.points, self.normal(self.n))

    def times(self) -> list[float]:
        start = self.rng.choice([0.0, 0.1])
        steps = self.rng.randint(1, 3)
        return [start + 0.3 * k for k in range(steps)]

    def neuron(self) -> kernels.Zonal:
        return kernels.relu_expansion(self.d + 2, degrees=8)

    def directions(self) -> np.ndarray:
        w = self.normal(2, self.d + 2).numpy()
        return w / np.linalg.norm(w, axis=1, keepdims=True)


Recipe = Callable[[World], Any]


def _of(*values: Any) -> Recipe:
    return lambda world: world.rng.choice(values)


def _whole(least: int, most: int) -> Recipe:
    return lambda world: world.rng.randint(least, most)


def _number(least: float, most: float) -> Recipe:
    return lambda world: world.rng.uniform(least, most)


VALID: dict[str, Recipe] = {
    # sizes and seeds
    **{k: _whole(1, 5) for k in ("n", "d", "h", "L", "c", "k", "b", "channels", "D")},
    **{k: _whole(2, 6) for k in ("n_train", "steps", "slots", "max_events")},
    "n_test": _whole(0, 4),
    "members": _of(None, 1, 2),
    "seed": _whole(0, 9),
    "depth": _whole(1, 12),
    "degrees": _whole(0, 8),
    "degree": _whole(0, 8),
    "cut": _of(1, 2),
    "d_signal": _of(1, 2),
    "components": _of("all", 1),
    "padding": _of(0, 1),
    "widths": lambda v: (v.d, v.h, 1),
    "axis": _of(0),
    "index": _of(0),
    # numbers
    **{
        k: _number(0.05, 1.0)
        for k in ("T", "dt", "size", "tau", "xi", "noise", "shift")
    },
    **{k: _number(0.2, 2.0) for k in ("sigma", "sigma_first", "sharpness", "width")},
    **{
        k: _number(0.2, 2.0) for k in ("rate", "strength", "radius", "turned", "factor")
    },
    "signal_to_noise": _number(0.5, 4.0),
    "angle": _number(10.0, 80.0),
    "alpha": _of(1.0, 0.5, 2.0, 20.0),
    "bias": _of(0.0, 0.3),
    "ridge": _of(0.0, 0.1),
    "nugget": _of(0.0, 1e-6),
    "whitening": _of(0.0, 0.5, 1.0),
    "epsilon": _number(0.05, 1.0),
    "rtol": _of(1e-6, 1e-8),
    "tolerance": _of(0.02, 0.1),
    "mu": _of(1000.0, 10.0),
    "memory": _of(1e9, 1e3),
    "batch": _of(1, 2),
    "output_change": _number(0.0, 0.3),
    "max_output_change": _of(0.1, 0.02),
    "max_weight_change": _of(0.01, math.inf),
    "aim": _of(0.7, 0.5),
    "grow": _of(1.3, 2.0),
    "shrink": _of(0.1, 0.3),
    "check_every": _of(1, 20),
    "batch_cap": _of(None, 2),
    "low": _of(-2.5),
    "high": _of(7.5),
    "end": _of(1.5),
    # words and flags
    "loss": _of(*losses.LOSSES),
    "name": _of("hinge", "square"),
    "activation": _of("relu", "tanh", "softplus", "erf"),
    "method": _of("spectral", "cholesky"),
    "reduction": _of("sum", "mean"),
    "integrator": _of("auto", "impulse", "momentum"),
    "kind": _of("rf", "nt"),
    "dtype": _of(torch.float64, torch.float32),
    "device": _of("cpu", "auto"),
    **{k: _of(True, False) for k in ("normalised", "antithetic", "quasi", "readout")},
    "own_members": _of(True, False),
    # tensors
    "x": lambda v: v.points,
    "x2": lambda v: v.rng.choice([None, v.normal(v.m, v.d)]),
    "y": lambda v: v.signs(),
    "K": lambda v: v.gram(),
    "K0": lambda v: v.gram(),
    "A": lambda v: v.normal(v.n, v.m),
    "k_train": lambda v: v.gram(),
    "k_test": lambda v: v.normal(v.m, v.n),
    "first": lambda v: v.gram(),
    "final": lambda v: v.gram(),
    "one_minus_rho": lambda v: 2 * v.uniform(v.n),
    "w": lambda v: v.normal(v.h, v.d),
    "theta": lambda v: v.normal(v.h, v.d + 1),
    "other": lambda v: v.normal(v.rng.choice([v.h, v.m]), v.d + 1),
    "mass": lambda v: v.rng.choice([None, v.masses(v.h)]),
    "other_mass": _of(None),
    "weights": lambda v: v.rng.choice([None, v.masses(v.n)]),
    "residual": lambda v: v.normal(v.n),
    "features": lambda v: v.normal(v.h, v.n),
    "target": lambda v: v.normal(v.d),
    "covariance": lambda v: v.rng.choice([None, v.gram(v.d)]),
    "variances": lambda v: v.rng.choice([None, v.uniform(v.d)]),
    "fit": lambda v: v.normal(v.n + 2, v.d + 1),
    "p": lambda v: torch.nn.functional.normalize(v.normal(v.n, v.d + 1)),
    "z": lambda v: v.normal(v.n),
    "start": _of(None),
    "edges": lambda v: torch.linspace(-1.0, 1.0, v.h + 1, dtype=torch.float64),
    "at_neurons": lambda v: v.normal(2).numpy(),
    "breaks": _of((), (0.0,)),
    "labels": lambda v: np.arange(12) % 2,
    "n_official": _of(None, 8),
    "balanced": _of(True, False),
    # times and sequences
    "t": lambda v: v.times(),
    "rates": _of(None),
    "levels": _of((0.9, 0.5), (0.5,)),
    "cells": _of((4,), (8,)),
    # functions
    "phi": _of(torch.relu, torch.tanh),
    "slope": _of(losses.loss("square").slope),
    "growth": _of(lambda t: -math.expm1(-t)),
    "function": _of(lambda x, theta: torch.tanh(theta @ x.mT)),
    "kernel": _of(None, kernels.ntk),
    "inputs": _of(data.gaussian, data.sphere),
    "teacher": _of(None, lambda x: x.sum(1)),
    "force": lambda v: v.normal(v.d),
    # objects
    "net": lambda v: v.net(),
    "f": lambda v: v.net(),
    "unit": lambda v: v.unit(),
    "model": lambda v: v.model(),
    "neuron": lambda v: v.neuron(),
    "rule": _of(None, dynamics.StepRule(0.05)),
    "watch": _of(None, dynamics.Watch(max_steps=20)),
    "mu_quantile": lambda v: meanfield.Quantile.of_particles(v.normal(v.h)),
}
"""A recipe of valid arguments for every name."""


def _weights_of_net(v: World, given: Mapping[str, Any]) -> Any:
    net = given.get("net", given.get("f"))
    members = v.rng.choice([None, None, 2]) if "net" in given else None
    return net.init(v.rng.randint(0, 5), members=members)


def _particles_of_model(v: World, given: Mapping[str, Any]) -> Tensor:
    return v.normal(v.h, given["model"].unit.D)


_FLOW: dict[str, Any] = {"w": _weights_of_net, "max_steps": _of(1, 20)}
_MODEL: dict[str, Any] = {"theta": _particles_of_model}
_QUANTILE = VALID["mu_quantile"]

SPECIAL: dict[str, dict[str, Any]] = {
    "kernels.ntk": {"w": _weights_of_net},
    "kernels.kernel_predict": {"t": _of(math.inf, 0.0, 1.0, 1e6, 1e12)},
    "kernels.TwoPhaseKernel": {"epsilon": _number(0.05, 0.9)},
    "kernels.TwoPhaseKernel.__call__": {"t": _of(0.0, 1.0, 9.0)},
    "kernels.TwoPhaseKernel.scale": {"t": _of(0.0, 1.0, 9.0)},
    "kernels.tangent_features": {"slope": _of(None, torch.sigmoid)},
    "kernels.zonal_expansion": {
        "d": _whole(3, 9), "phi": _of(np.square, np.tanh), "slope": _of(np.cos, np.sign),
    },
    "kernels.relu_expansion": {"d": _whole(3, 9)},
    "kernels.sphere_moments": {"w": lambda v: v.directions()},
    "kernels.SphereMoments.neuron_error": {"target": lambda v: v.neuron()},
    "networks.Network.init": {"dtype": _of(torch.float64, torch.float32, torch.float16)},
    "networks.Network.__call__": {},
    "networks.activation": {"name": VALID["activation"], "sharpness": _of(None, None, 2.0)},
    "networks.FullyConnected": {"bias": _of(True, False)},
    "networks.ReluNetwork": {"bias": _of(0.0, 0.1)},
    "networks.Convolutional": {"kernel": _of(3, 5)},
    "dynamics.momentum_flow": {**_FLOW, "tau": _of(None)},
    "dynamics.impulse_flow": _FLOW,
    "dynamics.hinge_flow": _FLOW,
    "dynamics.frozen_movement": {"w": _weights_of_net},
    "dynamics.frozen_flow": {"max_steps": _of(1, 50), "tau": _of(None)},
    "dynamics.hinge_path": {"watch": _of(None)},
    "dynamics.stochastic_flow": {
        **_FLOW, "dt": _of(0.1), "batch": _of(1, 2), "tau": _of(0.0, 0.5),
        "rule": _of(None), "watch": _of(None), "check_every": _of(1, 3), "alpha": _of(1.0),
    },
    "dynamics.gradient_flow": {"w": _weights_of_net},
    "dynamics.kernel_flow": {"kernel": lambda v: v.gram()},
    "dynamics.linear_flow": {"w": lambda v: networks.DeepLinear((v.d, v.h, 1)).init(1)},
    "dynamics.linear_velocity": {"w": lambda v: networks.DeepLinear((v.d, 1)).init(1)},
    "dynamics.Batches": {"T": _of(None), "dt": _of(0.1), "batch": _of(1, 2)},
    "dynamics.temperature": {"n": _whole(2, 9)},
    "dynamics.batch_size": {"n": _whole(2, 9)},
    "dynamics.Watch": {"max_steps": _of(None, 5), "stop_loss": _of(None, 0.0, 0.5)},
    "meanfield.Neuron": {
        "phi": _of(torch.tanh), "slope": _of(lambda u, z: 1 - z * z),
    },
    "meanfield.RadialRamp": {"d": _whole(2, 5), "start": _of(0.5)},
    "meanfield.Grid": {"low": _of((-1.0,)), "high": _of((2.0,))},
    "meanfield.MeanField": {"alpha": _of(1.0, 2.0)},
    "meanfield.particle_flow": {**_MODEL, "residual": _of(None)},
    "meanfield.coupled_flow": _MODEL,
    "meanfield.jko_step": _MODEL,
    "meanfield.jko_flow": {**_MODEL, "steps": _of(1, 2)},
    "meanfield.frozen_residual": {"kernel": lambda v: v.gram()},
    "meanfield.density_flow": {
        "model": lambda v: meanfield.MeanField(
            meanfield.Bump(1), v.normal(v.n, 1), v.normal(v.n)
        ),
        "grid": lambda v: meanfield.Grid((-2.0,), (2.0,), (8,)),
        "mass": lambda v: v.masses(8),
    },
    "meanfield.matching": {"other": lambda v: v.normal(v.h, v.d + 1)},
    "meanfield.wasserstein_1d": {"mu": _QUANTILE, "nu": _QUANTILE},
    "meanfield.Quantile": {
        "levels": lambda v: np.linspace(0, 1, v.h + 1),
        "left": lambda v: np.arange(v.h) * 1.0, "right": lambda v: np.arange(v.h) + 1.0,
    },
    "meanfield.Quantile.of_particles": {"theta": lambda v: v.normal(v.h)},
    "meanfield.Quantile.of_cells": {"mass": lambda v: v.masses(v.h)},
    "data.spiked": {"d": _whole(3, 5)},
    "data.low_frequency": {"x": lambda v: v.normal(v.n, 9)},
    "data.high_frequency_noise": {"x": lambda v: v.normal(v.n, 9)},
    "data.low_frequency_energy": {"x": lambda v: v.normal(v.n, 9)},
    "data.neuron_teacher": {"activation": _of(torch.relu, torch.tanh)},
    "data.gaussian": {"d": lambda v: v.d},
    "data.whiten": {"x": lambda v: v.normal(v.n + 2, v.d)},
}  # fmt: skip
"""Where a name means something else than in ``VALID``; recipes of two arguments also get
the arguments made so far."""

EXTRA = {
    **{f"dynamics.{flow}": ("max_steps",) for flow in (
        "momentum_flow", "impulse_flow", "hinge_flow", "frozen_flow")},
    "dynamics.Batches": ("dt", "batch"),
    "dynamics.stochastic_flow": ("max_steps", "dt", "batch", "check_every"),
}  # fmt: skip
"""Keywords beyond the signature that a call always gives, so that it ends soon."""


# ------------------------------------------------------------------ what is called


@dataclass(frozen=True)
class Target:
    """One public function, constructor or method.

    Attributes:
        name: ``layer.name`` or ``layer.Class.method``.
        signature: whose parameters are generated.
        bind: makes the thing to call in a world.
        also: further words by which an error may name what is wrong.
    """

    name: str
    signature: inspect.Signature
    bind: Callable[[World], Callable[..., Any]]
    doc: str
    also: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[inspect.Parameter]:
        wanted = (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        return [p for p in self.signature.parameters.values() if p.kind in wanted]


def _moments(v: World) -> kernels.SphereMoments:
    neuron = v.neuron()
    return kernels.sphere_moments(v.rng.choice(["rf", "nt"]), v.directions(), neuron)


INSTANCES: dict[str, Recipe] = {
    "kernels.SphereMoments": _moments,
    "kernels.TwoPhaseKernel": lambda v: kernels.TwoPhaseKernel(v.gram(), v.gram(), 0.1),
    "kernels.Zonal": lambda v: v.neuron(),
    "networks.Network": lambda v: v.net(),
    "dynamics.StepRule": lambda v: dynamics.StepRule(),
    "meanfield.MeanField": lambda v: v.model(),
    "meanfield.Grid": lambda v: meanfield.Grid((-1.0,), (1.0,), (4,)),
    "meanfield.Quantile": lambda v: meanfield.Quantile.of_particles(v.normal(v.h)),
    "meanfield.Neuron": lambda v: meanfield.Neuron(v.d),
    "meanfield.Bump": lambda v: meanfield.Bump(v.d + 1),
    "meanfield.RadialRamp": lambda v: meanfield.RadialRamp(3),
    "data.Principal": lambda v: data.principal_components(v.normal(9, v.d), "all"),
}
"""Objects whose methods are called."""

METHODS: dict[str, dict[str, Any]] = {
    "kernels.SphereMoments": {
        "degree_errors": {}, "harmonic_error": {},
        "neuron_error": {"target": lambda v: v.neuron()},
    },
    "kernels.TwoPhaseKernel": {
        "__call__": {"t": _of(0.0, 2.0, 9.0)}, "scale": {"t": _of(0.0, 2.0, 9.0)},
    },
    "kernels.Zonal": {"tail": {}},
    "networks.Network": {
        "init": {"members": _of(None)}, "__call__": {"w": "weights"},
        "check_params": {"w": "weights", "name": None},
    },
    "dynamics.StepRule": {"refined": {}},
    "meanfield.MeanField": {
        **{m: {"theta": "particles", "mass": lambda v: None}
           for m in ("f", "residual", "risk")},
        "potential": {"theta": "particles"}, "velocity": {"theta": "particles"},
        "kernel": {"theta": "particles", "mass": lambda v: None}, "mean_feature": {},
    },
    "meanfield.Grid": {"faces": {}},
    "meanfield.Neuron": {"jacobian": {}, "pullback": {}},
    "meanfield.Bump": {
        m: {"x": lambda v: v.normal(v.n, v.d + 1)} for m in ("jacobian", "pullback")},
    "meanfield.RadialRamp": {
        **{m: {"x": lambda v: v.uniform(v.n, 1), "theta": lambda v: v.normal(v.h, 1)}
           for m in ("jacobian", "pullback")},
        "__call__": {}, "slope": {"_value": _of(None)}},
    "data.Principal": {"__call__": {}},
}  # fmt: skip
"""Methods that are called, with their special recipes."""

LEFT_OUT = {
    "kernels.SphereMoments", "kernels.Zonal",  # made by sphere_moments, zonal_expansion
    "networks.ModuleNet", "networks.Activation", "networks.Network",
    "networks.TangentFactor",
    "dynamics.KernelFlow", "dynamics.LinearFlow", "dynamics.Status",
    "dynamics.StochasticRun", "dynamics.Trajectory", "dynamics.WeightFlow",
    "meanfield.DensityFlow", "meanfield.ParticleFlow", "meanfield.Unit",
    "data.Dataset", "data.MissingData", "data.Principal", "data.sources", "losses.Loss",
}  # fmt: skip
"""Results and protocols. `theory` states no `__all__`: the oracle is called by tests and
chapters alone, with arguments of their own."""


def _class_target(name: str, found: Any) -> Target:
    """A function or constructor."""
    return Target(name, inspect.signature(found), lambda v: found, found.__doc__ or "")


def _method_target(owner: str, method: str, special: Mapping[str, Any]) -> Target:
    layer, cls = owner.split(".")
    plain = getattr(getattr(importlib.import_module(f"lazyrich.{layer}"), cls), method)
    signature = inspect.signature(plain)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    name = f"{owner}.{method}"
    SPECIAL.setdefault(name, {}).update(
        {k: r for k, r in special.items() if not isinstance(r, str)}
    )

    def bind(v: World) -> Callable[..., Any]:
        made = INSTANCES[owner](v)
        if "particles" in special.values():
            v.theta = v.normal(v.h, made.unit.D)  # type: ignore[attr-defined]
        if "weights" in special.values():
            v.weights = made.init(1)  # type: ignore[attr-defined]
        return getattr(made, method)

    for parameter, kind in special.items():
        if kind == "particles":
            SPECIAL[name][parameter] = lambda v: v.theta
        elif kind == "weights":
            SPECIAL[name][parameter] = lambda v: v.weights
    return Target(
        name, signature.replace(parameters=parameters), bind, plain.__doc__ or ""
    )


def targets() -> list[Target]:
    """Everything public that is called, in a fixed order."""
    found: list[Target] = []
    for layer in LAYERS:
        module = importlib.import_module(f"lazyrich.{layer}")
        for name in getattr(module, "__all__", ()):
            value, full = getattr(module, name), f"{layer}.{name}"
            if callable(value) and full not in LEFT_OUT:
                found.append(_class_target(full, value))
    for method in ("of_particles", "of_cells"):
        value = getattr(meanfield.Quantile, method)
        found.append(_class_target(f"meanfield.Quantile.{method}", value))
    for owner, methods in METHODS.items():
        found += [_method_target(owner, m, special) for m, special in methods.items()]
    for cls in (sweeps.Scale, sweeps.Study):
        found.append(_class_target(f"sweeps.{cls.__name__}", cls))
    return found


def _module(v: World) -> torch.nn.Module:
    """A module of one of the usual kinds; making it leaves the random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(v.rng.randrange(100))
        middle = v.rng.choice(
            [
                torch.nn.Tanh(),
                torch.nn.ReLU(),
                torch.nn.LayerNorm(v.h),
                torch.nn.Dropout(),
            ]
        )
        layers = (torch.nn.Linear(v.d, v.h), middle, torch.nn.Linear(v.h, 1))
        return torch.nn.Sequential(*layers).double().train(v.rng.random() < 0.2)


SPECIAL |= {
    "sweeps.Scale": {
        "grid": _of({"a": (1, 2)}, {"a": (1.0,), "b": ("x", "y")}),
        "settings": _of({}, {"n": 3, "name": "digits"}),
    },
    "sweeps.Study": {
        "name": _of("one", "two_3"), "title": _of("a study"), "version": _of(1, 2),
        "scales": lambda v: {"laptop": sweeps.Scale({"a": (1, 2), "seed": (0, 1)})},
        "measure": _of(_of), "cost": _of(_whole),
        "chunk_axes": _of(("a",), ("a", "seed"), ()), "chunk_size": _of({"cpu": 2}),
    },
    "kernels.trace_ntk": {
        "module": _module, "outputs": _of(None, [0]), "memory": _of(1e9, 1e4)},
    "kernels.kernel_change": {},
    "networks.from_module": {"module": _module},
    "networks.check": {
        "w": lambda v: None, "tolerance": _of(None, 1e-6),
        "x": lambda v: v.points},
    "dynamics.data_force": {
        "y": lambda v: v.normal(len(v.points)), "slope": _of(torch.sub)},
    "data.load": {
        "name": _of("digits"), "n_train": _whole(1, 9), "n_test": _whole(0, 9),
        "labels": _of("parity", "class", (0, 1), ((0, 1), (2, 3))),
        "components": _of(None, 3, "all"), "whitening": _of(0.0, 0.5, 1.0),
        "fit": _of("train", "train+test"), "shape": _of("flat"),
        "normalise": _of("none", "unit", "sqrt_d", "centre", "standard"),
        "unit_norm": _of(False, True), "balanced": _of(True, False),
        "official_split": _of(False), "source": _of("auto", "sklearn"),
        "folder": _of(None), "image_size": _of(None),
    },
    # what would be fetched is not asked for: there may be a network
    "data.fetch": {"name": _of("digits", "images", "wikipedia"), "folder": _of(None)},
    "data.load_text": {
        "name": _of("wikipedia"), "length": _of(1, 50), "folder": _of(None)},
}  # fmt: skip


# ------------------------------------------------------------------ spoiled arguments


def _spoiled_tensors(v: World, value: Tensor) -> list[Callable[[], Any]]:
    def at_one_place(number: float) -> Tensor:
        changed = value.detach().clone()
        if changed.numel():
            changed.view(-1)[v.rng.randrange(changed.numel())] = number
        return changed

    return [
        lambda: value.numpy(), lambda: value.tolist(), lambda: None, lambda: "tensor",
        lambda: value.to(torch.float32), lambda: value.to(torch.float16),
        lambda: value.to(torch.int64), lambda: value.to(torch.complex128),
        lambda: value > 0, lambda: at_one_place(math.nan), lambda: at_one_place(math.inf),
        lambda: value * 1e200, lambda: value * 1e-200, lambda: value * 0,
        lambda: -value, lambda: value[:0], lambda: value[..., :0],
        lambda: value.unsqueeze(0), lambda: value.unsqueeze(-1), lambda: value.flatten(),
        lambda: value[:1], lambda: torch.triu(value) if value.ndim > 1 else value.sum(),
        lambda: value.clone().requires_grad_(), lambda: value.to_sparse(),
        lambda: value.to("meta"), lambda: torch.stack([value, value], -1)[..., 0],
        lambda: value[:1].expand(value.shape) if value.ndim else value,
        lambda: torch.cat([value, value]) if value.ndim else value,
        lambda: value * 1e30, lambda: value.mT.contiguous().mT if value.ndim > 1 else value,
    ]  # fmt: skip


_NUMBERS: list[Any] = [
    math.nan, math.inf, -math.inf, 0, 0.0, -1.0, -1, 1e-300, 1e300, 10**400, 2**70, None,
    "3", "", True, 1.5, 1j, np.complex128(1 + 2j), np.float32(0.5), np.int64(3),
    np.ones(2), np.array(2.0), torch.tensor(2.0), torch.ones(2), torch.tensor(3), [1],
    (), {}, 10**12, torch.tensor(1.0, requires_grad=True), b"1", object(), np.bool_(True),
]  # fmt: skip
_WORDS: list[Any] = [
    "",
    "nothing",
    None,
    3,
    ["hinge"],
    {},
    b"hinge",
    "HINGE",
    np.ones(2),
]
_OTHERS: list[Any] = [None, 3, "word", 2.5, [], object(), np.ones(3), torch.ones(3), {}]


def _spoiled_weights(v: World, value: Mapping[str, Any]) -> list[Callable[[], Any]]:
    first = next(iter(value))

    def with_first(change: Callable[[Any], Any]) -> dict[str, Any]:
        return {**value, first: change(value[first])}

    tensors = [w for w in value.values() if isinstance(w, Tensor)]
    if not tensors:
        return [lambda: v.rng.choice(_OTHERS)]
    return [
        lambda: {k: w.numpy() for k, w in value.items()},
        lambda: dict.fromkeys(value), lambda: {}, lambda: list(value.values()),
        lambda: {k: w for k, w in value.items() if k != first},
        lambda: {**value, "more": value[first]}, lambda: with_first(lambda w: w[:0]),
        lambda: with_first(lambda w: w * math.nan), lambda: with_first(lambda w: w * 1e200),
        lambda: with_first(lambda w: w.float()), lambda: with_first(lambda w: w.to("meta")),
        lambda: with_first(lambda w: w.to_sparse()), lambda: with_first(lambda w: {"a": w}),
        lambda: {k: w.float() for k, w in value.items()},
        lambda: {k: w.half() for k, w in value.items()},
        lambda: {k: w.to(torch.complex128) for k, w in value.items()},
        lambda: {k: torch.nn.Parameter(w.clone()) for k, w in value.items()},
        lambda: {k: torch.zeros_like(w) for k, w in value.items()}, lambda: None,
    ]  # fmt: skip


def spoiled(v: World, value: Any) -> Any:
    """Something of the kind of ``value`` that is unusual, or plainly wrong."""
    if isinstance(value, Tensor):
        return v.rng.choice(_spoiled_tensors(v, value))()
    if isinstance(value, Mapping) and value:
        return v.rng.choice(_spoiled_weights(v, value))()
    if isinstance(value, str):
        return v.rng.choice(_WORDS)
    if isinstance(value, np.ndarray):
        wrong = [
            value * math.nan,
            value[:0],
            value * 1e200,
            -value,
            value.tolist(),
            None,
        ]
        return v.rng.choice(
            [*wrong, value.astype(complex), value.astype(str), value[None]]
        )
    if isinstance(value, list | tuple):
        wrong = [
            [],
            None,
            "word",
            [math.nan],
            [-1.0, 1.0],
            [1.0, 1.0],
            [math.inf],
            [None],
        ]
        more = [
            list(value) * 2,
            np.array(value),
            torch.tensor(value),
            3.0,
            [1j],
            [[1.0]],
        ]
        return v.rng.choice([*wrong, *more, [10**400], ["a"], [True], [0.0, 1e3]])
    if value is None or isinstance(value, bool | int | float):
        return v.rng.choice(_NUMBERS)
    return v.rng.choice(_OTHERS)


# ------------------------------------------------------------------ one call


@dataclass
class Call:
    """A call with its arguments."""

    target: Target
    function: Callable[..., Any]
    arguments: dict[str, Any]
    spoiled: tuple[str, ...]

    def __str__(self) -> str:
        words = ", ".join(
            f"{k}={v!r:.300}" if k in self.spoiled else f"{k}={type(v).__name__}"
            for k, v in self.arguments.items()
        )
        return f"{self.target.name}({words})".replace("\n", "")


def _is_long(steps: Any) -> bool:
    """Whether a flow may rightly take minutes for so many steps."""
    return steps is None or (isinstance(steps, int) and steps > 1000)


def _made(recipe: Any, v: World, given: Mapping[str, Any]) -> Any:
    many = len(inspect.signature(recipe).parameters) > 1
    return recipe(v, given) if many else recipe(v)


def generated(target: Target, rng: random.Random) -> Call | None:
    """A call of the target; ``None`` where some argument has no recipe."""
    v = World(rng)
    function = target.bind(v)
    special = SPECIAL.get(target.name, {})
    arguments: dict[str, Any] = {}
    for parameter in target.parameters:
        recipe = special.get(parameter.name, VALID.get(parameter.name))
        required = parameter.default is inspect.Parameter.empty
        if recipe is None and required:
            return None
        if recipe is not None and (required or rng.random() < 0.6):
            arguments[parameter.name] = _made(recipe, v, arguments)
    for name in EXTRA.get(target.name, ()):
        arguments[name] = _made(special.get(name, VALID.get(name)), v, arguments)
    wrong: list[str] = []
    if arguments and rng.random() < 0.75:
        for name in rng.sample(
            list(arguments), min(len(arguments), rng.choice([1, 1, 2]))
        ):
            with contextlib.suppress(RuntimeError, ValueError, IndexError, TypeError):
                arguments[name] = spoiled(v, arguments[name])
                if name == "max_steps" and _is_long(arguments[name]):
                    arguments[name] = 0
                wrong.append(name)
    return Call(target, function, arguments, tuple(wrong))


def _tensors(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """All tensors in a result or an argument; arrays as tensors."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        yield torch.from_numpy(np.array(value))
    elif isinstance(value, float):
        yield torch.tensor(value, dtype=torch.float64)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each, depth + 1)
    elif isinstance(value, list | tuple) and depth < 4:
        for each in value:
            yield from _tensors(each, depth + 1)


def _snapshot(value: Any) -> Any:
    if isinstance(value, Tensor):
        held = value.detach().clone() if value.layout == torch.strided else None
        return value.requires_grad, value.shape, value.dtype, held
    if isinstance(value, Mapping):
        return {k: _snapshot(w) for k, w in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else None


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(
            _same(before[k], after[k]) for k in before
        )
    if isinstance(before, tuple):
        held, now = before[3], after[3]
        if before[:3] != after[:3] or (held is None) != (now is None):
            return False
        return (
            held is None
            or held.is_meta
            or torch.equal(held.nan_to_num(), now.nan_to_num())
        )
    if isinstance(before, np.ndarray):
        equal = before.dtype.kind in "fc"
        return bool(np.array_equal(before, after, equal_nan=equal))
    return True


def _state() -> tuple[Any, ...]:
    """What no call may change in the process."""
    return (
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.get_rng_state().numpy().tobytes(),
        str(np.random.get_state()),  # noqa: NPY002  the state that must not change
        hash(random.getstate()), str(warnings.filters), str(np.geterr()),
    )  # fmt: skip


NO_NUMBERS_NEEDED = {
    "meanfield.Neuron.pullback", "meanfield.Neuron.jacobian", "meanfield.Bump.pullback",
    "meanfield.Bump.jacobian", "meanfield.RadialRamp.pullback", "networks.Network.__call__",
    "meanfield.RadialRamp.jacobian", "meanfield.RadialRamp.__call__",
    "meanfield.RadialRamp.slope", "meanfield.MeanField.mean_feature",
    "networks.Network.check_params", "networks.Network.init", "kernels.abel_constant",
    "dynamics.frozen_movement",
}  # fmt: skip
"""Functions whose results show NaN and infinities that go in, or are infinite by nature:
units and networks, the constant of equal inputs, a kernel that cannot halve the loss."""

DIFFERENTIABLE = {
    "networks.Network.__call__", "meanfield.MeanField.f", "meanfield.MeanField.residual",
    "meanfield.MeanField.risk", "meanfield.MeanField.potential",
    "meanfield.MeanField.mean_feature", *(
        f"meanfield.{unit}.{method}" for unit in ("Neuron", "Bump", "RadialRamp")
        for method in ("pullback", "jacobian", "__call__", "slope")),
}  # fmt: skip
"""Functions through which gradients may flow; flows and kernels cut them off."""

KERNELS = {
    "kernels.ntk", "kernels.relu_ntk", "kernels.feature_kernels",
    "meanfield.MeanField.kernel",
}  # fmt: skip
"""Kernels of points with themselves, if there is no second set."""


def broken_laws(call: Call, result: Any) -> list[str]:
    """Laws that a result breaks."""
    name, given, wrong = call.target.name, call.arguments, []
    found = list(_tensors(result))
    if any(t.requires_grad for t in found) and name not in DIFFERENTIABLE:
        wrong.append("the result requires gradients")
    if any(t.is_complex() for t in found):
        wrong.append("the result is complex")
    if name not in NO_NUMBERS_NEEDED and not all(
        bool(t.isfinite().all()) for t in found
    ):
        wrong.append("the result is not finite")
    if (
        name in KERNELS
        and given.get("x2") is None
        and given.get("x") is None
        or (name in KERNELS and "MeanField" not in name and given.get("x2") is None)
    ):
        for kernel in (t for t in found if t.ndim == 2):
            wrong += _kernel_laws(kernel.detach().double())
    if name == "kernels.kernel_predict":
        y, k = given["y"], given["k_train"]
        if given["k_test"].shape == k.shape and torch.equal(given["k_test"], k):
            off = torch.linalg.vector_norm(result - y)
            if off > 1.001 * torch.linalg.vector_norm(y):
                wrong.append("the flow leaves the ball of its targets")
    if name == "data.stereographic":
        off = (result.double().norm(dim=1) - 1).abs()
        if bool((off > 0.02).any()):
            wrong.append("a point that is not on the sphere")
    if name == "meanfield.wasserstein" and result < 0:
        wrong.append("a negative distance")
    if name == "kernels.alignment" and bool((result.abs() > 1.01).any()):
        wrong.append("an alignment beyond one")
    return wrong


def _kernel_laws(kernel: Tensor) -> list[str]:
    if kernel.shape[0] != kernel.shape[1] or not kernel.isfinite().all():
        return []
    scale = float(kernel.abs().max()) if kernel.numel() else 0.0
    wrong = []
    if (
        float((kernel - kernel.mT).abs().max() if kernel.numel() else 0.0)
        > 1e-6 * scale
    ):
        wrong.append("the kernel is not symmetric")
    if 1e-100 < scale < 1e100:
        least = float(torch.linalg.eigvalsh(kernel / scale).min())
        if least < -1e-2 * len(kernel):
            wrong.append(f"the kernel has the eigenvalue {least:g}")
    return wrong


def _names(call: Call) -> set[str]:
    owner = call.target.name.rsplit(".", 1)[0]
    # ``loss(name)`` and ``activation(name)`` speak of the loss and the activation
    known = {*call.target.signature.parameters, *call.arguments}
    known.add(call.target.name.rsplit(".", 1)[1])
    layer, *cls = owner.split(".")
    if cls:  # a method may name what its object was made of
        made = getattr(importlib.import_module(f"lazyrich.{layer}"), cls[0])
        known |= set(getattr(made, "__dataclass_fields__", ()))
    return known


def faults(call: Call) -> list[str]:
    """Make the call; what is wrong with how it went, as lines."""
    wrong: list[str] = []
    before = {k: _snapshot(v) for k, v in call.arguments.items()}
    state = _state()
    begin = time.perf_counter()
    result: Any = None
    refused = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _limited(SECONDS):
                result = call.function(**call.arguments)
        except TooLong:
            return [f"more than {SECONDS:g} s"]
        except Exception as error:  # judged here, whatever it is
            refused = True
            wrong += _judged(call, error)
    if time.perf_counter() - begin > SECONDS:
        wrong.append("too long")
    if _state() != state:
        wrong.append("the state of the process has changed")
    changed = [
        k for k, v in call.arguments.items() if not _same(before[k], _snapshot(v))
    ]
    wrong += [f"the argument {name} has changed" for name in changed]
    if not refused:
        wrong += broken_laws(call, result)
    return wrong


def _judged(call: Call, error: Exception) -> list[str]:
    said = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    kinds = REFUSALS
    documented = [
        kind
        for kind in (
            RuntimeError,
            ImportError,
            OSError,
            AssertionError,
            data.MissingData,
        )
        if type(error) is kind and kind.__name__ in call.target.doc
    ]
    if documented and documented[0] in (AssertionError, data.MissingData):
        return []  # the answer of a check, and of a machine without the data
    if type(error) not in kinds and not documented:
        return [f"a foreign error: {said}"]
    if call.target.name.startswith("theory."):
        return []
    words = "|".join(re.escape(name) for name in _names(call))
    if not re.search(rf"(?<![A-Za-z])({words})(?![A-Za-z])", str(error)):
        return [f"an error that names no argument: {said}"]
    return []


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TooLong

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def run(
    calls: int, seed: int, tell: Callable[[str], Any] = lambda line: None
) -> tuple[int, list[str]]:
    """Make so many calls; how many are in order, and the faults found, also told."""
    rng = random.Random(seed)
    known = [t for t in targets() if generated(t, random.Random(0)) is not None]
    good, found = 0, []
    for number in range(calls):
        target = known[number % len(known)]
        call = generated(target, random.Random(rng.getrandbits(64)))
        assert call is not None
        wrong = faults(call)
        good += not wrong
        lines = [f"{number}: {call}\n    {line}" for line in wrong]
        found += lines
        for line in lines:
            tell(line)
    return good, found


def main() -> int:
    calls, seed = (int(word) for word in sys.argv[1:3])
    good, found = run(calls, seed, lambda line: print(line, flush=True))
    print(f"seed {seed}: {calls} calls, {good} in order, {len(found)} faults")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

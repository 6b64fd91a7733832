"""Training as a differential equation: what is solved, what is watched, and how.

Flows of weights solve one problem, a net with its data, a loss and a laziness scale:
``momentum_flow`` and ``stochastic_flow`` in small steps, ``impulse_flow`` from kink to kink
of the hinge, ``hinge_flow`` as the regime asks, ``gradient_flow`` and ``linear_flow`` to
high order. Flows of a frozen kernel are their lazy limits: ``frozen_flow``, ``hinge_path``
and ``kernel_flow``. ``Watch`` says what they record and where they end.
"""

from lazyrich.dynamics.hinge.choice import frozen_movement, hinge_flow
from lazyrich.dynamics.hinge.impulse import impulse_flow
from lazyrich.dynamics.hinge.lazy_limit import hinge_path
from lazyrich.dynamics.smooth.gradient import WeightFlow, gradient_flow
from lazyrich.dynamics.smooth.kernel import KernelFlow, kernel_flow
from lazyrich.dynamics.smooth.linear import (
    LinearFlow,
    data_force,
    linear_flow,
    linear_velocity,
    square_force,
)
from lazyrich.dynamics.steps.frozen import frozen_flow
from lazyrich.dynamics.steps.momentum import momentum_flow
from lazyrich.dynamics.steps.rule import StepRule
from lazyrich.dynamics.steps.stochastic import (
    Batches,
    StochasticRun,
    batch_size,
    stochastic_flow,
    temperature,
)
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.watch import Watch

__all__ = [
    "Batches",
    "KernelFlow",
    "LinearFlow",
    "Status",
    "StepRule",
    "StochasticRun",
    "Trajectory",
    "Watch",
    "WeightFlow",
    "batch_size",
    "data_force",
    "frozen_flow",
    "frozen_movement",
    "gradient_flow",
    "hinge_flow",
    "hinge_path",
    "impulse_flow",
    "kernel_flow",
    "linear_flow",
    "linear_velocity",
    "momentum_flow",
    "square_force",
    "stochastic_flow",
    "temperature",
]

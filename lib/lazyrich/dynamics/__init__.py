"""Training as a differential equation: momentum gradient flow and its frozen limit."""

from lazyrich.dynamics.frozen import frozen_flow
from lazyrich.dynamics.function_space import KernelFlow, kernel_flow
from lazyrich.dynamics.hinge_flow import frozen_movement, hinge_flow
from lazyrich.dynamics.hinge_path import hinge_path
from lazyrich.dynamics.impulse import impulse_flow
from lazyrich.dynamics.linear import (
    LinearFlow,
    data_force,
    linear_flow,
    linear_velocity,
    square_force,
)
from lazyrich.dynamics.momentum import momentum_flow
from lazyrich.dynamics.step import StepRule
from lazyrich.dynamics.stochastic import (
    StochasticRun,
    batch_size,
    stochastic_flow,
    temperature,
)
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.weight_space import WeightFlow, gradient_flow

__all__ = [
    "KernelFlow",
    "LinearFlow",
    "Status",
    "StepRule",
    "StochasticRun",
    "Trajectory",
    "batch_size",
    "WeightFlow",
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

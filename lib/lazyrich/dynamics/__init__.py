"""Training as a differential equation: momentum gradient flow and its frozen limit."""

from lazyrich.dynamics.frozen import frozen_flow
from lazyrich.dynamics.linear_flow import (
    LinearFlow,
    data_force,
    linear_flow,
    square_force,
)
from lazyrich.dynamics.momentum import momentum_flow
from lazyrich.dynamics.step import StepRule
from lazyrich.dynamics.trajectory import Status, Trajectory

__all__ = [
    "LinearFlow",
    "Status",
    "StepRule",
    "Trajectory",
    "data_force",
    "frozen_flow",
    "linear_flow",
    "momentum_flow",
    "square_force",
]

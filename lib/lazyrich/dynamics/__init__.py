"""Training as a differential equation: momentum gradient flow and its frozen limit."""

from lazyrich.dynamics.frozen import frozen_flow
from lazyrich.dynamics.momentum import momentum_flow
from lazyrich.dynamics.step import StepRule
from lazyrich.dynamics.trajectory import Status, Trajectory

__all__ = ["Status", "StepRule", "Trajectory", "frozen_flow", "momentum_flow"]

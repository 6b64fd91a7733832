"""Mean-field dynamics of shallow nets: particles, densities, transport (mdl2022)."""

from lazyrich.meanfield.density import DensityFlow, Grid, density_flow
from lazyrich.meanfield.jko import jko_flow, jko_step
from lazyrich.meanfield.model import MeanField
from lazyrich.meanfield.particles import (
    ParticleFlow,
    coupled_flow,
    frozen_residual,
    gaussian_particles,
    particle_flow,
)
from lazyrich.meanfield.transport import (
    Quantile,
    matching,
    wasserstein,
    wasserstein_1d,
)
from lazyrich.meanfield.units import AnyUnit, Bump, Neuron, RadialRamp, Unit

__all__ = [
    "AnyUnit",
    "Bump",
    "DensityFlow",
    "Grid",
    "MeanField",
    "Neuron",
    "ParticleFlow",
    "Quantile",
    "RadialRamp",
    "Unit",
    "coupled_flow",
    "density_flow",
    "frozen_residual",
    "gaussian_particles",
    "jko_flow",
    "jko_step",
    "matching",
    "particle_flow",
    "wasserstein",
    "wasserstein_1d",
]

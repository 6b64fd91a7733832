"""Data sets and synthetic tasks, as tensors that say where they come from."""

from lazyrich.data.catalogue import MissingData, fetch, load_text, sources
from lazyrich.data.dataset import Dataset, load
from lazyrich.data.embedding import inverse_stereographic, stereographic
from lazyrich.data.frequency import (
    high_frequency_noise,
    low_frequency,
    low_frequency_energy,
)
from lazyrich.data.synthetic import (
    gaussian,
    linear_teacher,
    neuron_teacher,
    sphere,
    spiked,
    teacher_task,
    whiten,
)
from lazyrich.data.transform import Principal, principal_components

__all__ = [
    "Dataset",
    "MissingData",
    "Principal",
    "fetch",
    "gaussian",
    "high_frequency_noise",
    "inverse_stereographic",
    "linear_teacher",
    "load",
    "load_text",
    "low_frequency",
    "low_frequency_energy",
    "neuron_teacher",
    "principal_components",
    "sources",
    "sphere",
    "spiked",
    "stereographic",
    "teacher_task",
    "whiten",
]

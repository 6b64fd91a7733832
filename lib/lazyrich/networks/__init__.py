"""Networks as pure functions: a frozen description, ``init`` and ``net(w, x)``."""

from lazyrich.core.module import ModuleNet, from_module
from lazyrich.networks.activations import ACTIVATIONS, Activation, activation
from lazyrich.networks.convolutional import Convolutional, MixedResNet
from lazyrich.networks.deep_linear import DeepLinear
from lazyrich.networks.fully_connected import FullyConnected
from lazyrich.networks.mlp import MLP
from lazyrich.networks.network import Network, TangentFactor
from lazyrich.networks.relu import ReluNetwork
from lazyrich.networks.shallow import Shallow
from lazyrich.networks.verify import check
from lazyrich.networks.wide_resnet import WideResNet

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Convolutional",
    "DeepLinear",
    "FullyConnected",
    "MLP",
    "MixedResNet",
    "ModuleNet",
    "Network",
    "ReluNetwork",
    "Shallow",
    "TangentFactor",
    "WideResNet",
    "activation",
    "check",
    "from_module",
]

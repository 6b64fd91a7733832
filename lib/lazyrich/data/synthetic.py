"""Inputs drawn from known laws, and teachers that label them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.core.threads import one_thread
from lazyrich.data.dataset import Dataset
from lazyrich.data.transform import fitted

Inputs = Callable[[int, int, int], Tensor]


def gaussian(
    n: int, d: int, seed: int = 0, *, variances: Tensor | None = None
) -> Tensor:
    """Gaussian inputs, shape (n, d): x ~ N(0, diag(variances)), by default N(0, I).

    Sets with one seed are nested: more points begin with the same ones.

    Raises:
        ValueError: sizes are not positive, or `variances` does not match.

    >>> x = data.gaussian(4, 3, seed=1)
    >>> x.shape, torch.equal(x[:2], data.gaussian(2, 3, seed=1))
    (torch.Size([4, 3]), True)
    """
    x = _normal("data/gaussian", n, d, seed)
    if variances is None:
        return x
    variances = check.constant("variances", variances, shape=(d,))
    if bool((variances < 0).any()):
        raise ValueError("variances must not be negative")
    return x * variances.to(torch.float64).sqrt()


def sphere(n: int, d: int, seed: int = 0, *, radius: float | None = None) -> Tensor:
    """Inputs uniform on a sphere, shape (n, d); of radius sqrt(d) unless given.

    Raises:
        ValueError: sizes or radius are not positive.

    >>> x = data.sphere(5, 4)
    >>> print(x.norm(dim=1))
    tensor([2.0000, 2.0000, 2.0000, 2.0000, 2.0000], dtype=torch.float64)
    """
    d = check.size("d", d)
    r = math.sqrt(d) if radius is None else check.real("radius", radius, above=0.0)
    x = _normal("data/sphere", n, d, seed)
    points = r * x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return check.result("radius", points)


@one_thread()  # the same to the last bit on every machine
def spiked(
    n: int, d: int, seed: int = 0, *, d_signal: int, signal_to_noise: float
) -> tuple[Tensor, Tensor]:
    r"""Spiked covariates: a signal subspace of larger variance than the rest.

    x = U z0 + U_perp z1, with z0 uniform on the sphere of radius r sqrt(d0) and z1 on
    that of radius sqrt(d - d0): the covariance is r^2 U U^T + (I - U U^T), and r = 1 is
    isotropic (ghorbani2020).

    Returns:
        inputs, shape (n, d), and the orthonormal basis U of the signal, shape (d, d0),
        drawn from the seed.

    Raises:
        ValueError: ``d_signal`` is not between 1 and d - 1, or a size is not positive.

    >>> x, basis = data.spiked(6, 5, d_signal=2, signal_to_noise=3.0)
    >>> x.shape, basis.shape
    (torch.Size([6, 5]), torch.Size([5, 2]))
    """
    d_signal = check.size("d_signal", d_signal)
    d = check.size("d", d)
    if d_signal >= d:
        raise ValueError(f"d_signal must be below d = {d}, got {d_signal}")
    signal_to_noise = check.real("signal_to_noise", signal_to_noise, above=0.0)
    square = _normal("data/spiked/basis", d, d, seed)
    basis, triangle = torch.linalg.qr(square)
    basis = basis * triangle.diagonal().sign()  # makes the law of the basis uniform
    z = _normal("data/spiked", n, d, seed)
    parts = []
    for part, radius in (
        (z[:, :d_signal], signal_to_noise * math.sqrt(d_signal)),
        (z[:, d_signal:], math.sqrt(d - d_signal)),
    ):
        parts.append(
            radius * part / torch.linalg.vector_norm(part, dim=1, keepdim=True)
        )
    x = check.result("signal_to_noise", torch.cat(parts, 1) @ basis.mT)
    return x, basis[:, :d_signal]


def whiten(x: Tensor, whitening: float = 1.0) -> Tensor:
    """Inputs with their sample covariance made flat, wholly or in part.

    All directions of the centred inputs are kept whose singular value is above 1e-3 of
    the largest; the result, shape (n, rank), is in coordinates of the principal basis.
    See `transform.principal_components`.

    Raises:
        TypeError, ValueError: no matrix, inputs that are all equal or whose squares leave
            the range of their dtype, or a `whitening` that is not between 0 and 1.

    >>> x = data.whiten(data.gaussian(50, 2) * torch.tensor([1.0, 9.0]))
    >>> torch.allclose(x.mT @ x / 50, torch.eye(2, dtype=x.dtype))
    True
    """
    principal = fitted("x", x, "all", whitening)
    return principal(x)


def linear_teacher(d: int, seed: int = 0, *, strength: float = 1.0) -> Tensor:
    """A random direction beta of length `strength`, shape (d,): y = x @ beta.

    Raises:
        ValueError: sizes or strength are not positive.

    >>> teacher = data.linear_teacher(3)
    >>> teacher.shape
    torch.Size([3])
    """
    strength = check.real("strength", strength, above=0.0)
    beta = _normal("data/teacher", 1, d, seed)[0]
    return check.result("strength", strength * beta / torch.linalg.vector_norm(beta))


def neuron_teacher(
    d: int, seed: int = 0, *, activation: Callable[[Tensor], Tensor] = torch.relu
) -> Callable[[Tensor], Tensor]:
    """A single neuron x -> activation(<w, x>) with a random unit vector w.

    Inputs with entries of order one give pre-activations of order one.

    Raises:
        ValueError: `d` is not positive.

    >>> teacher = data.neuron_teacher(3)
    >>> teacher(data.gaussian(5, 3)).shape
    torch.Size([5])
    """
    check.function("activation", activation)
    w = linear_teacher(d, seed)
    return lambda x: activation(x @ w.to(x))


def teacher_task(
    n_train: int,
    n_test: int,
    d: int,
    seed: int = 0,
    *,
    inputs: Inputs = gaussian,
    teacher: Callable[[Tensor], Tensor] | None = None,
    noise: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> Dataset:
    """A regression task on synthetic inputs.

    Args:
        n_train, n_test: number of examples; equal seeds give nested, disjoint sets.
        d: input dimension.
        seed: of inputs, teacher and noise.
        inputs: ``(n, d, seed) -> (n, d)``, such as `gaussian` or `sphere`.
        teacher: ``x -> y``; by default `linear_teacher` of strength 1.
        noise: standard deviation of what is added to the training targets.
        dtype: of all tensors.

    Raises:
        ValueError: an argument out of its range, or a teacher that does not give one
            number an input.

    >>> task = data.teacher_task(20, 10, 3)
    >>> task.x_train.shape, task.y_test.shape
    (torch.Size([20, 3]), torch.Size([10]))
    """
    n_train, d = check.size("n_train", n_train), check.size("d", d)
    n_test, seed = check.size("n_test", n_test, least=0), _checked_seed(seed)
    noise = check.real("noise", noise, least=0.0)
    check.float_dtype("dtype", dtype)
    check.function("inputs", inputs)
    if teacher is not None:
        check.function("teacher", teacher)
    draw = getattr(inputs, "__name__", repr(inputs))
    x_train = inputs(n_train, d, seed)
    # Test inputs come from a stream of their own, so neither set moves the other.
    x_test = inputs(max(n_test, 1), d, -seed - 1)[:n_test]
    for x, n in ((x_train, n_train), (x_test, n_test)):
        if x.shape != (n, d):
            raise ValueError(
                f"inputs must give points of shape ({n}, {d}), got {tuple(x.shape)}"
            )
    if teacher is None:
        beta = linear_teacher(d, seed)
        y_train, y_test = x_train @ beta, x_test @ beta
    else:
        y_train, y_test = teacher(x_train), teacher(x_test)
    for y, n in ((y_train, n_train), (y_test, n_test)):
        if not isinstance(y, Tensor) or y.shape != (n,):
            given = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"teacher must give one number an input, got {given}")
    y_train = y_train + noise * _normal("data/noise", n_train, 1, seed)[:, 0]
    parts = (
        check.result("inputs, teacher and noise", part.to(dtype))
        for part in (x_train, y_train, x_test, y_test)
    )
    return Dataset(
        *parts,
        name="synthetic",
        source=f"drawn by {draw}",
        meta={"seed": seed, "d": d, "noise": noise},
    )


def _normal(name: str, n: int, d: int, seed: int) -> Tensor:
    n, d, seed = check.size("n", n), check.size("d", d), _checked_seed(seed)
    # NumPy draws one number after the other: larger sets begin with smaller ones.
    return torch.from_numpy(rng.numpy_generator(name, seed, d).standard_normal((n, d)))


def _checked_seed(seed: int) -> int:
    """``seed`` as an integer of any sign: negative ones name streams of their own."""
    return check.positive_int("seed", seed, least=-(2**63))

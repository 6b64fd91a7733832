"""Which examples are used: deterministic, disjoint, nested choices.

The training set of 100 is the beginning of the training set of 200 for the same seed,
and likewise for test sets; neither depends on the size of the other.
"""

from collections.abc import Sequence

import numpy as np

from lazyrich.core import check, rng


def split(
    labels: np.ndarray,
    n_train: int,
    n_test: int,
    seed: int,
    *,
    name: str = "data",
    balanced: bool = True,
    n_official: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test examples.

    Every class is shuffled. The training set takes examples from the front, the test
    set from the back. Balanced sets take the classes in turn, in a new random order
    each round, so that after n examples class sizes differ by one at most.

    Args:
        labels: class of every example, shape (n,).
        n_train, n_test: how many; `n_test` may be 0.
        seed: one seed, one choice.
        name: of the set; different sets are shuffled differently.
        balanced: take the same number from every class; otherwise draw from all alike.
        n_official: training examples come from the first so many, test examples from
            the others; by default both come from all.

    Raises:
        ValueError: there are not enough examples (of some class).
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "biufUS":
        raise ValueError(
            f"labels must be classes of shape (n,), n >= 1, got {check.shown(labels)}"
        )
    n_train = check.size("n_train", n_train)
    n_test = check.size("n_test", n_test, least=0)
    seed = check.positive_int("seed", seed, least=0)
    check.instance("name", name, str)
    check.flag("balanced", balanced)
    if n_official is not None:
        check.positive_int("n_official", n_official, most=len(labels))
    indices = np.arange(len(labels))
    if n_official is None:
        pools = (indices, indices)
    else:
        pools = (indices[:n_official], indices[n_official:])
    chosen = []
    for pool, count, part in zip(
        pools, (n_train, n_test), ("train", "test"), strict=True
    ):
        key = (name, "pooled" if n_official is None else part, seed)
        if balanced:
            groups = [pool[labels[pool] == label] for label in np.unique(labels)]
        else:
            groups = [pool]
        shuffled = [
            rng.numpy_generator("data/split", *key, k).permutation(group)
            for k, group in enumerate(groups)
        ]
        if n_official is None and part == "test":
            shuffled = [group[::-1] for group in shuffled]
        chosen.append(_in_turn(shuffled, count, part, (name, part, seed)))
    train, test = chosen
    if overlap := len(np.intersect1d(train, test)):
        raise ValueError(
            f"n_train = {n_train} and n_test = {n_test} must fit in the "
            f"{len(labels)} examples of {name}"
            f"{' with equal classes' if balanced else ''}, got {overlap} too many"
        )
    return train, test


def _in_turn(
    groups: Sequence[np.ndarray], count: int, part: str, key: tuple[str, str, int]
) -> np.ndarray:
    """The first `count` when one example of every group is taken in each round."""
    rounds = -(-count // len(groups))
    shortest = min(len(group) for group in groups)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    if rounds > shortest:
        raise ValueError(
            f"n_{part} must be at most {shortest * len(groups)} "
            f"({len(groups)} x {shortest} of {key[0]}), got {count}"
        )
    draw = rng.numpy_generator("data/turns", *key)
    turns = [draw.permutation(len(groups)) for _ in range(rounds)]
    order = [groups[k][r] for r, turn in enumerate(turns) for k in turn]
    return np.array(order[:count], dtype=np.int64)

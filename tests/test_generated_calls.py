"""A fixed sample of generated calls is in order, and the judge of calls sees faults."""

import contextlib
import random

import generated_calls as generated
import pytest
import torch

CALLS, SEED = 500, 20


def test_a_sample_of_generated_calls_is_in_order() -> None:
    good, found = generated.run(CALLS, SEED)
    assert not found, "\n".join(found)
    assert good == CALLS


def test_every_public_name_is_called_or_left_out_for_a_reason() -> None:
    silent = [
        target.name
        for target in generated.targets()
        if not target.name.startswith("theory.")
        and generated.generated(target, random.Random(0)) is None
    ]
    assert silent == []


def test_most_calls_with_valid_arguments_give_a_result() -> None:
    """A generator whose valid calls are refused would find nothing. Fetching is left out:
    a valid call would ask a server."""
    refused = {}
    for target in generated.targets():
        if target.name == "data.fetch":
            continue
        outcomes = []
        for seed in range(12):
            call = generated.generated(target, random.Random(seed))
            if call is None or call.spoiled:
                continue
            try:
                call.function(**call.arguments)
                outcomes.append(True)
            except (TypeError, ValueError) as error:
                outcomes.append(False)
                refused[target.name] = str(error)
        if any(outcomes):
            refused.pop(target.name, None)
    assert refused == {}


def _call(function, **arguments):
    target = generated._class_target("kernels.relu_ntk", function)
    return generated.Call(target, function, arguments, ())


def asymmetric(x):
    return torch.triu(torch.ones(len(x), len(x)))


def indefinite(x):
    return -torch.eye(len(x))


def infinite(x):
    return x / 0.0


def changes_its_argument(x):
    return x.mul_(2.0)


def changes_the_state(x):
    torch.manual_seed(0)
    return x


def foreign(x):
    return x @ torch.ones(99)


def names_nothing(x):
    raise ValueError("this is not good")


def keeps_the_graph(x):
    return x.requires_grad_().square()


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (asymmetric, "not symmetric"),
        (indefinite, "eigenvalue"),
        (infinite, "not finite"),
        (changes_its_argument, "argument x has changed"),
        (changes_the_state, "state of the process"),
        (foreign, "foreign error"),
        (names_nothing, "names no argument"),
        (keeps_the_graph, "requires gradients"),
    ],
)
def test_the_judge_sees_each_kind_of_fault(function, word) -> None:
    torch.randn(1)  # so that seeding the global generator moves it
    found = generated.faults(_call(function, x=torch.ones(3, 3)))
    assert any(word in line for line in found), found


def test_the_judge_sees_what_takes_too_long(monkeypatch) -> None:
    monkeypatch.setattr(generated, "SECONDS", 0.05)

    def endless(x):
        while True:
            with contextlib.suppress(Exception):  # which does not hide the alarm
                x = x + 0

    assert generated.faults(_call(endless, x=torch.ones(1))) == ["more than 0.05 s"]


def test_calls_follow_from_the_seed() -> None:
    target = generated.targets()[0]
    first, second = (str(generated.generated(target, random.Random(5))) for _ in "ab")
    assert first == second

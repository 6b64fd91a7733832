"""What a measured quantity has to satisfy: written before measuring, with a reason.

A criterion is one of

    {near: -1.7, within: 0.2}            |x - near| <= within
    {near: 50, within_relative: 0.1}     |x - near| <= within_relative |near|
    {near: 50, within_factor: 1.5}       1/1.5 <= x / near <= 1.5
    {below: 1e-9}   {above: 0.95}        x < below;  x > above
    {between: [1.8, 2.1]}                1.8 <= x <= 2.1
    {is: true}                           x is exactly true (or false)

and every one has ``because:``, the reason of the tolerance.
"""

import math
from dataclasses import dataclass
from typing import Any

from lazyrich.claims import _yaml

Value = float | bool

_WITHIN = ("within", "within_relative", "within_factor")
_FORMS = ("near", "below", "above", "between", "is")


@dataclass(frozen=True)
class Criterion:
    """Bounds on one quantity.

    ``form`` is one of the words above; ``target`` the number (a pair for ``between``, a
    boolean for ``is``); ``width`` the tolerance of ``near`` and ``width_form`` its key.
    """

    form: str
    target: float | bool | tuple[float, float]
    because: str
    width: float = 0.0
    width_form: str = ""

    def interval(self) -> tuple[float, float]:
        """The numbers that pass, as (low, high); open ends for ``below``, ``above``.

        Raises:
            TypeError: the criterion is about a boolean.
        """
        if isinstance(self.target, tuple):
            return self.target
        if isinstance(self.target, bool):
            raise TypeError("a criterion on a boolean has no interval")
        target, width = self.target, self.width
        if self.form == "below":
            return -math.inf, target
        if self.form == "above":
            return target, math.inf
        if self.width_form == "within_factor":
            ends = target / width, target * width
            return min(ends), max(ends)
        if self.width_form == "within_relative":
            width *= abs(target)
        return target - width, target + width

    def holds(self, value: Value) -> bool:
        """Whether the measured ``value`` satisfies the criterion.

        Raises:
            TypeError: a boolean where a number is expected or the reverse.
        """
        if isinstance(value, bool) != (self.form == "is"):
            wanted = "true or false" if self.form == "is" else "a number"
            raise TypeError(f"expected {wanted}, got {value!r}")
        if self.form == "is":
            return value is self.target
        low, high = self.interval()
        if self.form in ("below", "above"):
            return low < value < high
        return low <= value <= high

    @property
    def expected(self) -> str:
        """The target in words, such as ``-1.7``, ``< 1e-09`` or ``1.8 to 2.1``."""
        if isinstance(self.target, bool):
            return str(self.target).lower()
        if isinstance(self.target, tuple):
            return f"{self.target[0]:g} to {self.target[1]:g}"
        sign = {"below": "< ", "above": "> "}.get(self.form, "")
        return f"{sign}{self.target:g}"

    @property
    def tolerance(self) -> str:
        """The width in words, such as ``± 0.2``, ``within a factor 2``, or empty."""
        if self.width_form == "within_factor":
            return f"within a factor {self.width:g}"
        if self.width_form == "within_relative":
            return f"± {100 * self.width:g} %"
        if self.width_form and self.width == 0:
            return "exactly"
        return f"± {self.width:g}" if self.width_form else ""


def _number(entry: _yaml.Entry, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise entry.fail(key, "a number")
    if not math.isfinite(value):
        raise entry.fail(key, "a finite number")
    return float(value)


def parse(place: str, content: Any) -> Criterion:
    """The criterion of one quantity; ``place`` names file, id and quantity in errors.

    Raises:
        ValueError: not exactly one of the forms above, or no ``because``.
    """
    entry = _yaml.Entry(place, content, {*_FORMS, *_WITHIN, "because"})
    forms = [form for form in _FORMS if form in entry]
    if len(forms) != 1:
        words = ", ".join(_FORMS)
        raise ValueError(f"{place}: give exactly one of {words}; got {forms or 'none'}")
    form, because = forms[0], entry.text("because")
    value = entry.content[form]
    widths = [key for key in _WITHIN if key in entry]
    if form != "near":
        if widths:
            raise ValueError(f"{place}: {widths[0]} goes with near, not with {form}")
        if form == "is":
            if not isinstance(value, bool):
                raise entry.fail("is", "true or false")
            return Criterion(form, value, because)
        if form == "between":
            if not isinstance(value, list) or len(value) != 2:
                raise entry.fail("between", "a pair [low, high]")
            low, high = (_number(entry, "between", end) for end in value)
            if not low < high:
                raise entry.fail("between", "a pair [low, high] with low < high")
            return Criterion(form, (low, high), because)
        return Criterion(form, _number(entry, form, value), because)
    if len(widths) != 1:
        words = ", ".join(_WITHIN)
        raise ValueError(f"{place}: near needs exactly one of {words}")
    key = widths[0]
    target = _number(entry, "near", value)
    width = _number(entry, key, entry.content[key])
    if key == "within_factor":
        if width <= 1:
            raise entry.fail(key, "a factor above 1")
    elif width < 0 or (width == 0 and key != "within"):
        # within: 0 asks for an exact number, such as a count or a predictor at rest
        raise entry.fail(key, "a number above 0 (within may be 0: exactly that number)")
    if key != "within" and target == 0:
        raise ValueError(f"{place}: {key} has no meaning near 0; give within")
    return Criterion(form, target, because, width, key)

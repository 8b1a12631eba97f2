"""The picture of the error tree is the tree."""

import re

import pytest
from kernel import errors
from kernel.errors import EventflowsError, Overloaded

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, EventflowsError)
}
BRANCH = re.compile(r"^(?P<lead>[ │├└─]*)(?P<name>[A-Z]\w+)", re.MULTILINE)
INDENT = 4


def drawn() -> list[tuple[str, str]]:
    """(error, the error it hangs on) as the module's docstring draws them; the root on nothing."""
    assert errors.__doc__ is not None
    picture = errors.__doc__.split("\n\n")[1]
    found: list[tuple[str, str]] = []
    above: list[str] = []
    for branch in BRANCH.finditer(picture):
        depth = len(branch["lead"]) // INDENT - 1
        above = [*above[:depth], branch["name"]]
        found.append((branch["name"], above[depth - 1] if depth else ""))
    return found


def test_the_picture_shows_every_error_below_the_one_it_is_derived_from() -> None:
    classes = [
        (name, "" if kind is EventflowsError else str(kind.__base__ and kind.__base__.__name__))
        for name, kind in CLASSES.items()
    ]
    assert sorted(drawn()) == sorted(classes)


def test_every_error_has_a_numeric_code_of_its_own() -> None:
    codes = [kind.code for kind in CLASSES.values()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES.values() if kind is not Overloaded])
def test_an_error_says_its_sentence_and_keeps_its_code(kind: type[EventflowsError]) -> None:
    error = kind("send less")
    assert (str(error), error.message, error.code) == ("send less", "send less", kind.code)


def test_one_error_can_carry_another_code() -> None:
    assert errors.InvalidInput("choose another name", code=1002).code == 1002
    assert errors.InvalidInput.code == 6001


def test_an_overload_says_when_to_come_back() -> None:
    assert Overloaded("the queue is full", retry_after_s=1.5).retry_after_s == 1.5

"""A gate does not stutter."""

from router.domain.gate import Gate


def test_a_gate_shuts_at_its_limit_and_opens_at_half_of_it() -> None:
    gate = Gate(10)
    assert [gate.is_shut(value) for value in (9, 10, 6, 5, 9, 12)] == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]

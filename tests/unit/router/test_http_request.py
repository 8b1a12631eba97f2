"""No record writes a header, or a request, of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel.errors import InvalidInput
from router.adapters.http_request import field_line, request_prefix


def test_a_head_is_its_lines() -> None:
    made = request_prefix("POST", "/v1/x?y=1", {"Host": "h:1", "X-A": "b c"})
    assert made == b"POST /v1/x?y=1 HTTP/1.1\r\nHost: h:1\r\nX-A: b c\r\n"


@pytest.mark.parametrize("odd", ["\r\nX: 1", "a\nb", "a\rb", "\x00", "\x7f", "é", "\u2028", "\t"])
def test_a_value_that_would_end_its_line_is_refused(odd: str) -> None:
    with pytest.raises(InvalidInput):
        request_prefix("POST", "/", {"X-A": odd})
    with pytest.raises(InvalidInput):
        field_line(f"X-A: {odd}")


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("PO ST", "/", "A"),
        ("POST", "x", "A"),
        ("POST", "/a b", "A"),
        ("POST", "/\r\n", "A"),
        ("POST", "/", ""),
        ("POST", "/", "A B"),
        ("POST", "/", "A:"),
        ("POST", "/", "A\r\n"),
    ],
)
def test_a_method_path_or_name_of_another_form_is_refused(
    method: str, path: str, name: str
) -> None:
    with pytest.raises(InvalidInput):
        request_prefix(method, path, {name: "v"})


@given(st.text())
def test_whatever_is_accepted_is_one_line(text: str) -> None:
    try:
        line = field_line(text)
    except InvalidInput:
        return
    assert line.encode("ascii").count(b"\n") == line.encode("ascii").count(b"\r") == 1
    assert line == text + "\r\n"

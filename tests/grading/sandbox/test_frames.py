"""The wire: what may cross arrives unchanged, what may not is refused, and no bytes at all break the reader."""

import contextlib
import io
import json
import math
import os

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from benchmarks.grading.fuzz import fuzzed
from course_lib.grading.cells import Cell, Unreadable, cells_of
from course_lib.grading.sandbox import frames
from course_lib.grading.sandbox.frames import BadFrame, decode, encode

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))  # benchmarks/grading/fuzz.py takes more, and others each time
QUICK = settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150, database=None)

words = st.text(st.characters(codec="utf-8"))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
    ),
    max_leaves=20,
)


def reader(data: bytes):
    """A ``receive`` that gives these bytes and then the end of the connection."""
    file = io.BytesIO(data)

    def receive(count: int) -> bytes:
        got = file.read(count)
        if len(got) < count:
            raise ConnectionError
        return got

    return receive


def sent(value: object) -> object:
    return frames.next_message(reader(encode({"value": value}, 7)), 7)["value"]


def equal(one: object, other: object) -> bool:
    """Equal in type and value; NaN equals NaN."""
    if isinstance(one, float):
        return type(other) is float and (one == other or (math.isnan(one) and math.isnan(other)))
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@QUICK
@given(plain)
def test_plain_data_arrives_unchanged(value):
    assert equal(sent(value), value)


@pytest.mark.parametrize("dtype", frames.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)], ids=str)
def test_tensors_arrive_bit_for_bit(dtype, shape):
    tensor = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    arrived = sent(tensor)
    assert arrived.dtype == dtype and arrived.shape == tensor.shape and torch.equal(arrived, tensor)


def test_views_gradients_arrays_and_dtypes_arrive():
    tensor = torch.arange(6.0).reshape(2, 3).mT.requires_grad_()
    arrived = sent([tensor, tensor, tensor.detach().expand(4, 3, 2), numpy.arange(3), torch.float64, float("nan")])
    assert arrived[0].requires_grad and torch.equal(arrived[0], tensor) and arrived[2].shape == (4, 3, 2)
    assert isinstance(arrived[3], numpy.ndarray) and arrived[4] is torch.float64 and math.isnan(arrived[5])


@pytest.mark.parametrize(
    "value",
    [object(), print, {1, 2}, b"bytes", torch.zeros(2).to_sparse(), Cell("a", "b")],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_data_is_refused(value):
    if isinstance(value, tuple):
        assert sent(value) == ("a", "b") and type(sent(value)) is tuple
    else:
        with pytest.raises((TypeError, NotImplementedError, RuntimeError, BadFrame)):
            sent(value)


def test_too_much_is_refused():
    deep: list = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, "x" * (5 << 20), torch.zeros(9 << 20, dtype=torch.float64), [torch.zeros(1)] * 600):
        with pytest.raises((TypeError, BadFrame)):
            sent(value)


ODD_VALUES = (
    '{"tensor": "9"}', '{"tensor": ["0"]}', '{"array": "0"}', '{"dtype": "object"}', '{"tuple": 5}',
    '{"dict": [[1]]}',
    '{"dict": 3}',
    '{"dict": [[{"dict": []}, 1]]}', '{"pickle": "x"}', "{}", "[" * 40 + "]" * 40, "1" * 5000, '"\\',
)  # fmt: skip


@pytest.mark.parametrize(
    "header", [f'{{"dict": [["value", {odd}]]}}' for odd in ODD_VALUES] + ["[]", "null", "1e400"]
)
def test_a_malformed_header_is_refused(header):
    with pytest.raises(BadFrame):
        decode(header.encode(), b"")


@pytest.mark.parametrize("sequence", [6, 8, 0])
def test_a_frame_of_another_number_is_refused(sequence):
    with pytest.raises(BadFrame) as error:
        frames.next_message(reader(encode({}, sequence)), 7)
    assert isinstance(error.value, frames.Stale) == (sequence == 6)


VALID = encode({"value": [torch.ones(2, 3), {"a": (1, 2.5, None)}]}, 1)


@QUICK
@given(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=8), st.integers(0, 8))
def test_a_frame_with_changed_bytes_is_read_or_refused(place, noise, dropped):
    data = VALID[:place] + noise + VALID[place + dropped :]
    with contextlib.suppress(BadFrame, ConnectionError):
        assert isinstance(frames.next_message(reader(data), 1), dict)


@QUICK
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_arbitrary_parts_are_read_or_refused(header, body):
    with contextlib.suppress(BadFrame):
        assert isinstance(decode(header, body), dict)


@QUICK
@given(st.binary(max_size=60))
def test_a_broken_safetensors_header_is_refused(noise):
    body = save({"0": torch.ones(2)})
    with contextlib.suppress(BadFrame):
        decode(b'{"dict": [["v", {"tensor": "0"}]]}', body[:8] + noise + body[8 + len(noise) :])


# The other reader of what students made: notebooks

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=15,
)
odd_cell = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", 5])},
    optional={
        "source": json_values,
        "input": json_values,
        "metadata": json_values | st.just({"tags": ["task_07_1"]}),
    },
)
odd_notebook = st.fixed_dictionaries(
    {},
    optional={
        "cells": st.lists(odd_cell | json_values, max_size=6),
        "worksheets": json_values,
        "metadata": json_values,
    },
)


def readable(data: bytes, name: str) -> None:
    try:
        for cell in cells_of(data, name):
            assert isinstance(cell.name, str)
            cell.source.encode()
    except Unreadable as error:
        assert str(error)


@QUICK
@given(odd_notebook)
def test_any_json_is_read_or_refused(value):
    readable(json.dumps(value).encode(), "a.ipynb")


@QUICK
@given(st.binary(max_size=400), st.sampled_from(["a.ipynb", "a.py"]))
def test_any_bytes_are_read_or_refused(data, name):
    readable(data, name)


def test_half_a_character_becomes_a_question_mark():
    assert sent(["half \ud800", {"\udfff": "é"}]) == ["half ?", {"?": "é"}]


def test_a_number_that_fits_in_no_float_is_refused_at_both_ends():
    assert sent(2**900) == 2**900
    with pytest.raises(TypeError, match="1000 bits"):
        encode({"value": 10**400}, 1)
    with pytest.raises(BadFrame, match="1000 bits"):
        decode(b'{"dict": [["value", %d]]}' % 10**400, b"")


def test_the_benchmark_finds_what_it_drives_for_longer():
    assert fuzzed()["test_any_bytes_are_read_or_refused"] is test_any_bytes_are_read_or_refused

"""The wire between grader and worker: a frame is one message, JSON with its tensors beside it.

    magic · sequence · header length · body length | header (JSON) | body (safetensors)

Only plain data crosses: numbers, strings, lists, tuples, dictionaries, tensors, arrays, dtypes. Nothing is pickled.
"""

import json
import struct
from collections.abc import Callable

import numpy
import torch
from safetensors.torch import load, save
from torch import Tensor

PREFIX = struct.Struct(">4sIIQ")
MAGIC = b"AiV1"
MAX_HEADER = 4 << 20
MAX_BODY = 32 << 20
MAX_TENSORS = 512
MAX_DEPTH = 32
MAX_VALUES = 200_000
MAX_BITS = 1000  # of a whole number: 10**400 fits in no float

_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64")
_INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")
DTYPES = {name: getattr(torch, name) for name in _FLOATS + _INTEGERS}


class BadFrame(Exception):
    """The other side broke the protocol."""


class Stale(BadFrame):
    """A frame that answers the request before, once more."""


def encode(message: dict, sequence: int) -> bytes:
    """The frame of ``message``.

    Raises:
        TypeError: if the message holds something that is not plain data.
        BadFrame: if the message is larger than a frame may be.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_pack(message, tensors, 0)).encode()
    body = save(tensors) if tensors else b""
    if len(header) > MAX_HEADER or len(body) > MAX_BODY or len(tensors) > MAX_TENSORS:
        raise BadFrame(f"a message of {len(header) + len(body)} bytes and {len(tensors)} tensors is too large")
    return PREFIX.pack(MAGIC, sequence, len(header), len(body)) + header + body


def next_message(receive: Callable[[int], bytes], sequence: int) -> dict:
    """The message of the next frame; ``receive(n)`` gives exactly n bytes.

    Raises:
        BadFrame: naming what was wrong with the frame.
    """
    magic, number, header, body = PREFIX.unpack(receive(PREFIX.size))
    if magic != MAGIC or number != sequence:
        kind = Stale if magic == MAGIC and number == sequence - 1 else BadFrame
        raise kind("wrong start of a frame" if magic != MAGIC else f"frame {number}, not {sequence}")
    if header > MAX_HEADER or body > MAX_BODY:
        raise BadFrame(f"a frame of {header} + {body} bytes is too large")
    return decode(receive(header), receive(body) if body else b"")


def decode(header: bytes, body: bytes) -> dict:
    """The message of a frame's two parts.

    Raises:
        BadFrame: naming what was wrong with the frame.
    """
    try:
        tensors = load(body) if body else {}
        if len(tensors) > MAX_TENSORS or any(one.dtype not in DTYPES.values() for one in tensors.values()):
            raise BadFrame("too many tensors, or one of a dtype that is not sent")
        message = _unpack(json.loads(header), tensors, 0, [0])
    except BadFrame:
        raise
    except Exception as error:  # whatever a parser says about bytes that another process made up
        raise BadFrame(f"unreadable frame: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise BadFrame("a message is a dictionary")
    return message


def _pack(value: object, tensors: dict[str, Tensor], depth: int) -> object:
    if depth > MAX_DEPTH:
        raise TypeError(f"values nested deeper than {MAX_DEPTH} cannot be sent")
    if isinstance(value, int) and int(value).bit_length() > MAX_BITS:
        raise TypeError(f"a whole number of more than {MAX_BITS} bits cannot be sent")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return {"tensor": _add(value, tensors), "grad": value.requires_grad}
    if isinstance(value, numpy.ndarray):
        return {"array": _add(torch.from_numpy(numpy.ascontiguousarray(value).reshape(value.shape)), tensors)}
    if isinstance(value, numpy.generic):
        return _pack(value.item(), tensors, depth + 1)
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, list):
        return [_pack(one, tensors, depth + 1) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_pack(one, tensors, depth + 1) for one in value]}
    if isinstance(value, dict):
        pairs = [[_pack(key, tensors, depth + 1), _pack(one, tensors, depth + 1)] for key, one in value.items()]
        return {"dict": pairs}
    if isinstance(value, bool | int | float | str):  # an IntEnum, a str subclass: the plain value
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    raise TypeError(f"a {type(value).__name__} cannot be sent: give tensors, numbers, strings, lists, dictionaries")


def _add(tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    name = str(len(tensors))
    tensors[name] = tensor.detach().as_subclass(Tensor).clone(memory_format=torch.contiguous_format)
    return name


def _unpack(value: object, tensors: dict[str, Tensor], depth: int, count: list[int]) -> object:
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_VALUES:
        raise BadFrame("a message too deep or of too many values")
    if isinstance(value, list):
        return [_unpack(one, tensors, depth + 1, count) for one in value]
    if not isinstance(value, dict):
        return _leaf(value)
    kind = next(iter(value), None)
    if kind == "tensor":
        tensor = tensors[value["tensor"]]
        return tensor.requires_grad_(value.get("grad") is True and tensor.dtype.is_floating_point)
    if kind == "array":
        return tensors[value["array"]].numpy()
    if kind == "dtype":
        return DTYPES[value["dtype"]]
    if kind == "tuple":
        return tuple(_unpack(one, tensors, depth + 1, count) for one in value["tuple"])
    if kind == "dict":
        return {_key(key): _unpack(one, tensors, depth + 1, count) for key, one in value["dict"]}
    raise BadFrame("an unknown kind of value")


def _key(key: object) -> object:
    if key is not None and type(key) not in (bool, int, float, str):
        raise BadFrame("a dictionary's keys are numbers or strings")
    return _leaf(key)


def _leaf(value: object) -> object:
    """A number or a text: half a character, which no file can hold, becomes a question mark."""
    if type(value) is int and value.bit_length() > MAX_BITS:
        raise BadFrame(f"a whole number of more than {MAX_BITS} bits")
    return value.encode("utf-8", errors="replace").decode() if isinstance(value, str) else value

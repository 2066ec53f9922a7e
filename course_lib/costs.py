"""What a mechanism costs: parameters, multiply-adds, time, and what it keeps for the backward pass."""

import timeit
from collections.abc import Callable
from inspect import Parameter, signature
from time import process_time

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.catalog import CATALOG, Mechanism


def multiply_adds(module: nn.Module, *inputs: torch.Tensor) -> int:
    """The multiply-adds of the matrix products and convolutions of one forward pass; nothing else is counted.

    >>> multiply_adds(nn.Conv2d(2, 3, 1), torch.zeros(1, 2, 5, 7))
    210
    """
    # The fused attention kernel hides its two products from the counter; the plain one shows them.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    return counter.get_total_flops() // 2  # torch counts a multiply-add as two


def milliseconds(run: Callable[[], object], *, times: int = 7) -> float:
    """The shortest of several runs without gradients, in time of the processor: waiting for others does not count."""
    with torch.no_grad():
        return 1000 * min(timeit.repeat(run, timer=process_time, repeat=times, number=1))


def kept_for_backward(function: Callable, *inputs: torch.Tensor) -> int:
    """The bytes that one forward pass stores for the backward pass, also on the device "meta".

    Each block of memory counts once. Inputs and parameters do not: they are there with or without a backward pass.

    >>> kept_for_backward(torch.sigmoid, torch.zeros(2, 3, requires_grad=True))  # its result: 6 numbers of 4 bytes
    24
    """
    parameters = function.parameters() if isinstance(function, nn.Module) else ()
    there = {address(tensor) for tensor in (*parameters, *inputs)}
    kept: dict[int, int] = {}
    alive = []  # the address of a block that was given back could be given to another one

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        if address(tensor) not in there:
            kept[address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(remember, lambda tensor: tensor):
        function(*inputs)
    return sum(kept.values())


def address(tensor: torch.Tensor) -> int:
    """The block of memory that a tensor lies in; views share it."""
    return StorageWeakRef(tensor.untyped_storage()).cdata


def sizes(row: Mechanism, c: int, h: int, w: int) -> tuple[int, int]:
    """Parameters and multiply-adds of one sample with ``c`` channels on ``h`` x ``w``.

    Raises:
        ValueError: if the mechanism does not exist at this size.
    """
    with torch.device("meta"):  # shapes without numbers: any size costs nothing
        module = row.build(c, h, w, **required(row))
        count = multiply_adds(module, *[torch.empty(shape) for shape in row.inputs(1, c, h, w)])
    return sum(p.numel() for p in module.parameters()), count


def cost(row: Mechanism, c: int, h: int, w: int) -> tuple[str, str, str]:
    """Parameters and multiply-adds as ``course list`` prints them; or dashes, and why not."""
    try:
        parameters, count = sizes(row, c, h, w)
        return f"{parameters:,}", f"{count:,}", ""
    except ValueError as error:
        return "–", "–", f"{row.name}: {error}"


def required(row: Mechanism) -> dict:
    """The row's small arguments that have no default."""
    parameters = signature(row.module).parameters
    return {name: value for name, value in row.small.items() if parameters[name].default is Parameter.empty}


def cost_table(c: int, h: int, w: int) -> str:
    """The catalogue as a table of aligned columns, and below it why a mechanism does not exist at this size."""
    rows, reasons = [("name", "asks", "paper", "parameters", "multiply-adds", "lesson")], []
    for row in CATALOG:
        parameters, count, reason = cost(row, c, h, w)
        rows.append((row.name, row.question, row.paper, parameters, count, f"{row.lesson:02d}"))
        reasons += [reason] if reason else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    note = f"One sample, {c} channels on {h} x {w}; multiply-adds of matrix products and convolutions."
    return "\n".join([*lines, note, *reasons])

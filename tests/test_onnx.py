"""What torch.export made of each row, as ONNX, gives the module's outputs. Runs where onnxruntime is installed."""

import pytest
import torch
from torch.export import Dim, export

from course_lib.catalog import CATALOG, Mechanism
from tests.test_citizens import larger
from tests.test_contract import built

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the packages onnx, onnxscript and onnxruntime")
pytest.importorskip("onnxscript", reason="needs the packages onnx, onnxscript and onnxruntime")


def single(row: Mechanism, b: int) -> tuple:
    return tuple(x.float() for x in larger(row, b, 0))


def outputs_agree(row: Mechanism, path) -> None:
    module, inputs, more = built(row)[0].float(), single(row, 3), single(row, 5)
    free = tuple({0: Dim("b", min=2, max=64)} for _ in inputs)
    with torch.no_grad():
        program = export(module, inputs, dynamic_shapes=free)
        torch.onnx.export(program, dynamo=True, verbose=False).save(path)
        session = onnxruntime.InferenceSession(path)
        names = [given.name for given in session.get_inputs()]
        (answer,) = session.run(None, {name: x.numpy() for name, x in zip(names, more, strict=True)})
        torch.testing.assert_close(torch.from_numpy(answer), module(*more), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_holds_or_the_row_says_why(row, tmp_path):
    if "onnx" in row.cannot:
        with pytest.raises(Exception):  # noqa: B017  a reason that is out of date must go
            outputs_agree(row, tmp_path / "model.onnx")
    else:
        outputs_agree(row, tmp_path / "model.onnx")

"""From the trained network to the files that ship: ONNX, int8, with the SHA-256 of each."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from classifiers.training.network import Guard, base_folder

NAMES = ("ids", "segments", "judged")


class Alone(nn.Module):
    """The network for a window without padding. Attention without a mask saves a third of the time at 256 tokens."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.guard = guard

    def forward(self, ids: Tensor, segments: Tensor, judged: Tensor) -> Tensor:
        return self.guard(ids, None, segments, judged)


def to_onnx(model: Guard, path: Path) -> None:
    """The network in fp32, for windows of one length at a time."""
    model.eval()
    model.encoder.set_attn_implementation("eager")
    shape = (1, 24)
    example = (
        torch.randint(1000, 2000, shape),
        torch.zeros(shape, dtype=torch.long),
        torch.ones(shape, dtype=torch.long),
    )
    axes = {name: {0: "batch", 1: "length"} for name in NAMES}
    torch.onnx.export(
        Alone(model),
        example,
        str(path),
        input_names=list(NAMES),
        output_names=["logits"],
        dynamic_axes={**axes, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def to_int8(source: Path, target: Path) -> None:
    """Weights in int8, one scale a column; activations are scaled as they come. The heads stay in fp32."""
    graph = onnx.load(str(source)).graph
    heads = [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and "encoder" not in node.name]
    quantize_dynamic(
        str(source),
        str(target),
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=False,
        nodes_to_exclude=heads,
        extra_options={"MatMulConstBOnly": True},
    )


def add_tokenizer(folder: Path) -> None:
    shutil.copyfile(base_folder() / "tokenizer.json", folder / "tokenizer.json")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

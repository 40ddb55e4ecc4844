"""Reading and writing weight files without ever running what is in them.

Two formats are read, told apart by their first bytes and never by their name: safetensors, and PyTorch's own
with `weights_only=True`, where `argparse.Namespace` is the one class allowed beside tensors (DUSt3R's files
store their arguments so). Tensors stay mapped to the file: reading costs no memory until a tensor is used.
"""

import argparse
import ast
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dpm_cli.errors import WeightsError
from dpm_cli.files import atomic_path

ZIP_MAGIC = b"PK\x03\x04"
PICKLE_MAGIC = b"\x80"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds, nothing of it interpreted."""

    path: Path
    format: str
    """safetensors or pytorch."""
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    """Of a safetensors file; empty otherwise."""
    arguments: dict[str, Any]
    """Constructor arguments stored with public weights (DUSt3R's `args.model`, MoGe's `model_config`), if any."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of tensors; raises WeightsError if it is none, is damaged, or wants to run code."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file (see `dpm models list`)")
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if start[:4] == ZIP_MAGIC:
            return _read_pytorch(path, mmap=True)
        if start[:1] == PICKLE_MAGIC:
            return _read_pytorch(path, mmap=False)
        if start[8:9] == b"{":
            return _read_safetensors(path)
    except WeightsError:
        raise
    except Exception as error:  # a damaged or hostile file can make a reader raise anything
        raise WeightsError(f"{path}: {_reason(error)}") from error
    raise WeightsError(f"{path}: neither a safetensors nor a PyTorch file")


def save_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    network: str,
    config: Mapping[str, Any],
    licence: str,
    **metadata: str,
) -> None:
    """Write our own format: safetensors, with what is needed to build the network in the metadata.

    Args:
        path: where to; written atomically.
        state: the network's state dict.
        network: kind of network, e.g. "pair".
        config: constructor values of the network's config.
        licence: of the weights; that of the weights they started from if it is stricter.
        **metadata: anything else worth keeping (steps, data, date).
    """
    header = {
        "dpm_network": network,
        "dpm_config": json.dumps(dict(config)),
        "licence": licence,
        **metadata,
    }
    unshared = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    with atomic_path(Path(path)) as temporary:
        save_file(unshared, temporary, metadata=header)
        temporary.chmod(0o644)  # safetensors writes for the owner's eyes only


def _read_safetensors(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
    beside = path.with_name("config.json")
    stored = (
        json.loads(beside.read_text()) if "dpm_network" not in metadata and beside.is_file() else {}
    )
    arguments = stored if isinstance(stored, dict) else {}
    return Checkpoint(path, "safetensors", load_file(path), metadata, arguments)


def _read_pytorch(path: Path, mmap: bool) -> Checkpoint:
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not weights")
    stored = content.get("model_config")
    called = getattr(content.get("args"), "model", None)
    arguments = stored if isinstance(stored, dict) else _arguments(called, path)
    state = content["model"] if isinstance(content.get("model"), dict) else content
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    return Checkpoint(path, "pytorch", tensors, {}, arguments)


def _arguments(text: Any, path: Path) -> dict[str, Any]:
    """Keyword arguments of a stored constructor call, parsed as data: nothing is evaluated."""
    if not isinstance(text, str):
        return {}
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError("not a constructor call")
        return {k.arg: _literal(k.value) for k in call.keywords if k.arg is not None}
    except (SyntaxError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: the stored args.model is not a plain constructor call"
        ) from error


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_literal(item) for item in node.elts)
    raise ValueError("not a literal")


def _reason(error: Exception) -> str:
    """One line that a user understands."""
    text = str(error)
    wanted = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"class ([\w.]+)", text)
    if "weights_only" in text.lower().replace(" ", "_") or "Unsupported" in text:
        what = f" ({wanted.group(1)})" if wanted else ""
        return f"refused: the file asks for more than tensors{what}, which could run code"
    lines = text.strip().splitlines()
    return f"damaged or truncated: {lines[0][:160] if lines else type(error).__name__}"

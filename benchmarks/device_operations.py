"""How often choosing tokens asks a GPU for something, and how often it waits for one, counted without any.

Tokens are on a device that is none: what is done to them is counted, and done on the CPU. A view of a tensor
asks for nothing, nor does memory. A wait is what has to be finished before Python goes on: a copy to the CPU,
a number that is looked at, a result whose size depends on numbers. Tokens are those of selection_cost.py, one
picture's, and methods all that choose before the language model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from selection_cost import KEEP, before_the_model, drawn_tokens
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import machine
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "device_operations.json"
BEFORE = "bc95c51"  # the last commit whose loops run where the tokens are
GRID = (24, 24)  # rows and columns of tokens
DEVICE = torch.device("meta")  # what tensors that are counted say of themselves
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}


def main() -> None:
    """Count with this version and with the one before, and write the results."""
    record: dict[str, Any] = {
        **machine(),
        "command": "python benchmarks/device_operations.py",
        "tokens": GRID[0] * GRID[1],
        "keep": KEEP,
        "counts": counts(),
        "before": {"commit": BEFORE, "counts": counts_of(BEFORE)},
    }
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def counts(known: Collection[str] | None = None) -> dict[str, dict[str, int]]:
    """The operations and the waits of every method, or of those that an earlier version knows."""
    torch.manual_seed(0)
    methods, tokens = before_the_model(known), drawn_tokens(*GRID)
    return {name: counts_of_choice(methods[name], tokens) for name in sorted(methods)}


@torch.no_grad()
def counts_of_choice(method: Pruner, tokens: VisualTokens) -> dict[str, int]:
    """Those of one method, of tokens with the signals that it reads. Raises RuntimeError if it keeps others
    than on the CPU.
    """
    there = replace(
        tokens,
        embeds=Counted(tokens.embeds),
        slot=Counted(tokens.slot),
        cell=Counted(tokens.cell),
        signals={name: Counted(tokens.signals[name]) for name in method.required_signals},
    )
    with Making(), Counter() as counter:
        kept = method.prune(there)
    if not torch.equal(_held(kept.slot), method.prune(tokens).slot):
        raise RuntimeError(f"{method} keeps other tokens where they are counted")
    return {"operations": counter.operations, "waits": counter.waits}


def counts_of(commit: str) -> dict[str, dict[str, int]]:
    """The same with the source of a commit."""
    with TemporaryDirectory() as folder:
        archive = ["git", "-C", str(ROOT), "archive", commit, "src"]
        source = subprocess.run(archive, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=source)
        path = os.pathsep.join([f"{folder}/src", str(ROOT / "benchmarks")])
        code = "import json; from device_operations import counts; from wordsight.pruners import names; "
        code += "print(json.dumps(counts(names())))"
        command, variables = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=variables).stdout
    found: dict[str, dict[str, int]] = json.loads(said)
    return found


class Counted(Tensor):
    """A tensor that says that it is on DEVICE, around one on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Counted:
        made: Counted = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """Its numbers, which PyTorch does not give of a subclass."""
        return self.cpu().tolist()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_copied(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_copied(index), value)

    def new_tensor(self, numbers: Any) -> Any:  # type: ignore[override]  # all that is asked for
        """Made of numbers, as Making does."""
        return torch.tensor(numbers, dtype=self.dtype, device=DEVICE)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # that of Tensor is no method for mypy
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Only a Counter computes with it."""
        raise RuntimeError(f"{func} outside of a Counter")


class Making(TorchFunctionMode):
    """While open, tensors made of numbers are copied to DEVICE, as PyTorch would leave out the numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """While open, computes with tensors on DEVICE, and counts the operations and the waits."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor here
        self.operations = self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = tree_leaves((args, kwargs))
        reads_there = any(isinstance(each, Counted) for each in given)
        device = kwargs.get("device")
        is_there = reads_there if device is None else device == DEVICE
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if (reads_there or is_there) and _asks(func):
            self.operations += 1
            self.waits += _waits(func, given) or not is_there
        return tree_map(_counted, result) if is_there else result


def _asks(func: Any) -> bool:
    """Whether it is more than a view of a tensor, or memory."""
    name = func.overloadpacket.__name__
    return not func.is_view and name != "_unsafe_view" and "empty" not in name


def _waits(func: Any, given: list[Any]) -> bool:
    """Whether how large the result is depends on numbers, or it is one."""
    name = func.overloadpacket.__name__
    is_masked = any(isinstance(each, Tensor) and each.dtype == torch.bool for each in given)
    return name in WAITS or (name == "index" and is_masked)


def _copied(index: Any) -> Any:
    """An index that is a list of numbers has to be copied to DEVICE, too."""
    return torch.tensor(index, dtype=torch.long, device=DEVICE) if isinstance(index, list) else index


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Counted) else value


def _counted(value: Any) -> Any:
    return Counted(value) if isinstance(value, Tensor) else value


if __name__ == "__main__":
    main()

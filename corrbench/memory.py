"""How much memory a clip takes, by what is held at once, and so how many frames may be in flight under a budget.

Every term is a tensor that the code makes; the tests compare the sums with the tensors that are alive when it runs.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOM = 128  # candidates a query while searching on a GPU
KEPT = 64  # candidates a query that are rescored; more within the bound than this, and the query is redone
SHARE = 0.85  # of what is free on a device, where no budget is given
Result = TypeVar("Result")


@dataclass(frozen=True)
class Clip:
    """What the memory of a clip's neighbour search on a GPU depends on."""

    frames: int
    grid: tuple[int, int]
    channels: int
    context: int
    k: int

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]

    def rows(self, targets: int) -> int:
        """Frames held while `targets` consecutive target frames are searched: they, their context, frame 0."""
        return min(self.frames, 1 + self.context + targets)

    def row_bytes(self) -> int:
        """A frame held: float32 and fp16 vectors, residual, length, slack and scale of each."""
        return self.cells * (6 * self.channels + 16)

    def target_bytes(self) -> int:
        """A target frame searched: its buffers of candidates, and those kept."""
        return self.cells * (8 * ROOM + 4 * KEPT + 8)

    def fixed_bytes(self) -> int:
        """A frame on its way in (four float32 copies), and the neighbours of the whole clip."""
        return self.cells * (16 * self.channels + 8 * self.k * (self.frames - 1))

    def search_bytes(self, targets: int) -> int:
        """The most that the search holds with `targets` frames at once, without the features given to it."""
        return self.fixed_bytes() + self.rows(targets) * self.row_bytes() + targets * self.target_bytes()

    def targets_at_once(self, budget: int) -> int:
        """How many target frames fit; ValueError where not even one does."""
        if self.search_bytes(1) > budget:
            raise ValueError(
                f"a clip of {self.frames} frames on a grid of {self.grid[0]}x{self.grid[1]} with {self.channels} channels "
                f"needs {words(self.search_bytes(1))} for its neighbours, but {words(budget)} is the limit: raise "
                "--memory, or run on the CPU with --device cpu"
            )
        low, high = 1, max(1, self.frames - 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.search_bytes(middle) <= budget else (low, middle - 1)
        return low


def free(device: torch.device | str) -> int:
    """Bytes that may be taken on a device without a budget: most of what is free there; on the CPU, no limit."""
    if torch.device(device).type != "cuda":
        return 2**62
    at_hand = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE * (torch.cuda.mem_get_info(device)[0] + at_hand))


def words(size: float) -> str:
    """`1.5 GiB`, `20 MiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def peak(make: Callable[[], Result]) -> tuple[Result, int]:
    """What `make()` returns, and the most bytes of tensors made in it that were alive at once.

    Counts storages as torch makes them, on every device, `meta` too; what libraries take beside is not seen.
    """
    counting = _Counting()
    with counting:
        made = make()
    return made, counting.most


def activation_bytes(backbone: torch.nn.Module, size: tuple[int, int]) -> int:
    """The most bytes of tensors alive while one frame (H, W) goes through a backbone, weights left out; 0 if unknown.

    Run on the `meta` device, where tensors have shapes and no content: nothing is computed. Backbones that compute
    outside torch (HOG, DAISY) cannot be run so.
    """
    try:
        shadow = copy.deepcopy(backbone).to("meta")
        with torch.no_grad():
            _, most = peak(lambda: shadow(torch.empty(1, 3, *size, device="meta")))
    except (NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError):
        return 0
    return most


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.given: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor) and value.untyped_storage() not in self.known:
                self.known[value.untyped_storage()] = 0  # was there before
        made = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(made):
            if isinstance(value, torch.Tensor) and value.untyped_storage() not in self.known:
                size = value.untyped_storage().nbytes()
                self.known[value.untyped_storage()] = size
                weakref.finalize(value.untyped_storage(), self._gone, size)
                self.now += size
                self.most = max(self.most, self.now)
        return made

    def _gone(self, size: int) -> None:
        self.now -= size

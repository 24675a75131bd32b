"""What a running stage says: a progress bar, `log.csv`, TensorBoard."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any


class Journal:
    """Writes losses to `<folder>/log.csv`, and if asked to TensorBoard and a progress bar. Of the first process only.

    `folder=None` writes nothing. After a resume, rows from beyond the checkpoint are dropped.
    """

    def __init__(
        self, folder: Path | None, *, title: str = "", tensorboard: bool = False, progress: bool = False
    ) -> None:
        self.folder, self.title = folder, title
        self.want_tensorboard, self.want_progress = tensorboard, progress
        self.names: list[str] = []
        self.bar: Any = None
        self.board: Any = None
        self.last = (0, time.monotonic())

    def begin(self, start: int, updates: int) -> None:
        """Open what is asked for; `start` updates are already done."""
        self.last = (start, time.monotonic())
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._cut(start)
        if self.want_tensorboard and self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=start + 1)
        if self.want_progress:
            self.bar, self.task = _bar(self.title, start, updates)

    def write(self, done: int, losses: dict[str, float], learning_rate: float) -> None:
        """Mean losses of the updates up to `done`."""
        now = time.monotonic()
        speed = (done - self.last[0]) / max(now - self.last[1], 1e-9)
        self.last = (done, now)
        row = {"update": done, "lr": learning_rate, "updates_per_second": round(speed, 4), **losses}
        if self.folder is not None:
            path = self.folder / "log.csv"
            fresh = not path.exists()
            with open(path, "a", newline="", encoding="utf-8") as handle:
                writer = csv.writer(handle)
                if fresh:
                    writer.writerow(row)
                writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row.values()])
        if self.board is not None:
            for name, value in losses.items():
                self.board.add_scalar(f"loss/{name}", value, done)
            self.board.add_scalar("lr", learning_rate, done)
        if self.bar is not None:
            words = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
            self.bar.update(self.task, completed=done, losses=words)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
        if self.bar is not None:
            self.bar.stop()

    def _cut(self, start: int) -> None:
        """Keep the rows of the first `start` updates."""
        assert self.folder is not None
        path = self.folder / "log.csv"
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = lines[:1] + [line for line in lines[1:] if int(line.partition(",")[0]) <= start]
        if start == 0:
            path.unlink()
        else:
            path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _bar(title: str, start: int, updates: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"), console=Console(stderr=True),
    )  # fmt: skip
    bar.start()
    return bar, bar.add_task(title, total=updates, completed=start, losses="")

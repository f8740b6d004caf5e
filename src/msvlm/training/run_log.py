"""The log of a run: a progress bar, metrics.jsonl and TensorBoard files. Nothing leaves the machine."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from msvlm.files import write_file
from msvlm.training.loop import Step

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Score:
    """One validation score, for the log."""

    name: str
    value: float


class RunLog:
    """The log of one run; when it resumes, lines after its last checkpoint are deleted."""

    def __init__(self, folder: Path, start: int, steps: int, stage: str, active: bool) -> None:
        self._file = folder / METRICS_FILE
        self._active = active
        if active:
            folder.mkdir(parents=True, exist_ok=True)
            _delete_after(self._file, start)
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
        self._bar = tqdm(total=steps, initial=start, desc=stage, unit="step", disable=not active, mininterval=1.0)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._active:
            self._board.close()

    def write_step(self, step: Step) -> None:
        """Writes the line of a step."""
        if not self._active:
            return
        self._bar.set_postfix_str(f"loss {step.loss:.4f}", refresh=False)
        self._bar.update(step.number - self._bar.n)
        numbers = {
            "loss": step.loss,
            **dict(step.parts),
            "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm,
            "seconds": round(step.seconds, 4),
        }
        self._write(step.number, "train", numbers)

    def write_scores(self, step: int, scores: tuple[Score, ...]) -> None:
        """Writes a line of scores on the validation split, if there are any."""
        if not self._active or not scores:
            return
        self._bar.write(f"step {step}: " + ", ".join(f"{score.name} {score.value:.3f}" for score in scores))
        self._write(step, "validation", {score.name: score.value for score in scores})

    def _write(self, step: int, split: str, numbers: dict[str, float]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "split": split, **numbers}) + "\n")
        for name, value in numbers.items():
            self._board.add_scalar(f"{split}/{name}", value, step)


def _delete_after(file: Path, step: int) -> None:
    """Deletes the lines of later steps, and an unfinished line."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    write_file(file, "".join(kept))

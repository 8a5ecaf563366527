"""What happens between two steps of a trainer? Progress is told, checkpoints are sealed, a request to stop is heard."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reactord.worker import checkpoints, warm, yielding
from reactord.worker.context import Context
from reactord.worker.recipes import Recipe


class Reporter(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Joins a transformers trainer to the job directory."""

    def __init__(self, context: Context, recipe: Recipe) -> None:
        self.context = context
        self.recipe = recipe
        self._began_s = self._rested_s = self._saved_at_s = 0.0
        self._durations_s: list[float] = []
        self._process = psutil.Process()
        self._saved_step = -1
        self._pause_due = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **trainer: Any,  # noqa: ANN401
    ) -> None:
        del args, control
        if state.global_step:
            warm.require(trainer["optimizer"], trainer["lr_scheduler"], state.global_step)
        self._saved_step, self._saved_at_s = state.global_step, time.monotonic()  # a resumed run begins at a checkpoint
        self.context.stop.defer()

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401
    ) -> None:
        del args, state, control
        self._began_s = self._rested_s = time.monotonic()

    def on_substep_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401
    ) -> None:
        """Between micro-batches the weights are those of the last full step: save that, drop this one."""
        del args
        (leave,) = self.context.team.any(self.context.stop.requested)
        self._leave_if(leave, state, control)
        self._slow_down()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401
    ) -> None:
        del args
        # batches of other lengths leave holes in other places: without this a run grows by a third within 20 steps
        yielding.trim()
        self._durations_s.append(time.monotonic() - self._began_s)
        leave, save, self._pause_due = self.context.team.any(
            self.context.stop.requested,
            time.monotonic() - self._saved_at_s >= self.context.spec.hyper.checkpoint_every_s,
            yielding.tier(self.context.work) in (yielding.CONSTRAINED, yielding.CRITICAL),
        )
        self._leave_if(leave, state, control)
        if save or self._pause_due:
            control.should_save = True
        self._slow_down()

    def _leave_if(self, asked: bool, state: TrainerState, control: TrainerControl) -> None:
        if asked:
            self.context.stop.request()  # of those who were not asked themselves
            control.should_training_stop = True
            control.should_save = state.global_step != self._saved_step

    def _slow_down(self) -> None:
        yielding.slow_down(self.context.work, time.monotonic() - self._rested_s, lambda: self.context.stop.requested)
        self._rested_s = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,  # noqa: ANN401
    ) -> None:
        del args, control
        if not logs or "loss" not in logs:  # the summary at the end
            return
        us = self.context.team
        held = us.sum(self._process.memory_info().rss) + us.agent_bytes()
        if not us.first:
            return
        accuracy, margin = self.recipe.measures(logs)
        recent = self._durations_s[-8:] or [0.0]
        step_s = sum(recent) / len(recent)
        self.context.work.progress(
            "train",
            "step",
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 3),
            loss=round(float(logs["loss"]), 5),
            reward_accuracy=_rounded(accuracy),
            reward_margin=_rounded(margin),
            learning_rate=logs.get("learning_rate"),
            step_s=round(recent[-1], 3),
            eta_s=round(step_s * (state.max_steps - state.global_step), 1),
            rss_mb=held // (1024 * 1024),
        )

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **trainer: Any,  # noqa: ANN401
    ) -> None:
        us = self.context.team
        if us.size > 1:
            us.require_equal(_sha256(trainer["model"]))  # and by then everybody has written its random state
        if us.first:
            self._seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", state.global_step)
        us.wait()  # nobody leaves, or writes the next one, before this one is whole
        self._saved_step, self._saved_at_s = state.global_step, time.monotonic()
        if self._pause_due:
            self._pause(control)

    def _seal(self, written: Path, step: int) -> None:
        work, hyper = self.context.work, self.context.spec.hyper
        path, size_bytes = checkpoints.seal(written, work.checkpoints, step, self.context.team.size)
        checkpoints.prune(work.checkpoints, hyper.keep_checkpoints, hyper.checkpoint_budget_mb * 1024 * 1024)
        work.progress("train", "checkpoint", step=step, path=str(path), size_bytes=size_bytes)

    def _pause(self, control: TrainerControl) -> None:
        """Everything up to here is safe: wait until there is memory, or leave if that takes too long."""
        self._pause_due = False
        self.context.note("the machine is short of memory; paused at a checkpoint")
        if not yielding.pause(self.context.work, lambda: self.context.stop.requested):
            self.context.stop.request()
        (leave,) = self.context.team.any(self.context.stop.requested)
        if leave:
            self.context.stop.request()
            control.should_training_stop = True
            return
        self.context.note("there is memory again; going on")


def _sha256(model: Any) -> str:  # noqa: ANN401 - a transformers model with its adapter
    """Of the weights that learn."""
    digest = hashlib.sha256()
    for weights in model.parameters():
        if weights.requires_grad:
            digest.update(weights.detach().numpy().data)
    return digest.hexdigest()


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None and math.isfinite(value) else None

"""How is a job trained? The stage that turns base, recipe and dataset into artifacts/trained/.

That is an adapter, or every weight of the model where the job says so (hyper.lora_rank 0): what lies inside the last
checkpoint. There is no state between "trained" and "saved" in which a crash could lose the run. Same seed, same
machine, same number of processes: same result, bit for bit, interrupted or not.

A frozen base is held in bfloat16. Weights that learn are held in float32 and multiplied in bfloat16: a step of training
is smaller than what bfloat16 can add to a weight.

Several processes (worker/team.py) share each step equally: together they see the examples that one would see, and the
mean of their gradients is its gradient, but for the order in which numbers are added.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from reactord import durable
from reactord.errors import BadRequest, Conservation, Stopped
from reactord.worker import checkpoints, recipes, team, tokens, warm
from reactord.worker.base import Base, file_sha256, open_base
from reactord.worker.context import Context, Facts, peak_rss_mb, require_space
from reactord.worker.examples import load

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
MIB = 1024**2
#: what a checkpoint holds of the result: how it was trained, and the weights
TRAINED = ("config.json", "adapter_config.json", checkpoints.WEIGHTS)
#: all weights together move as far as an adapter does at a tenth of its rate
FULL_RATE = 0.1


def run(context: Context) -> Facts:
    """Train to spec.hyper.max_steps, from the newest whole checkpoint if there is one.

    Raises Stopped when asked to leave (a checkpoint of the last full step is there), BadRequest when there is next to
    nothing to learn from, or when the checkpoint is of another number of processes.
    """
    work, hyper, us = context.work, context.spec.hyper, context.team
    prepared = work.outcome("prepare") or {}
    base = open_base(context.home, str(prepared.get("base")))
    team.meet(work, us)
    resume = us.told(lambda: _newest(context))
    # the export chain included: a night of training must not end at a full disk
    checkpoint_bytes = 6 * base.f16.stat().st_size if hyper.full else 0  # float32: weights and two moments
    require_space(work.root, 4 * base.f16.stat().st_size + 2 * checkpoint_bytes, "training and exporting")
    began_s = time.monotonic()
    if resume is None or checkpoints.step_of(resume) < hyper.max_steps:
        _train(context, base, resume)
    peak_mb = us.sum(peak_rss_mb()) + us.agent_bytes() // MIB
    if not us.first:
        return {}
    final = checkpoints.path_for(work.checkpoints, hyper.max_steps)
    trained = work.artifacts / "trained"
    _publish(final, trained)
    state = orjson.loads((final / "trainer_state.json").read_bytes())
    recipe = recipes.load(context.spec.recipe)
    curve = [
        [entry["step"], entry["loss"], recipe.measures(entry)[0]] for entry in state["log_history"] if "loss" in entry
    ]
    return {
        "steps": state["global_step"],
        "loss": curve[-1][1],
        "reward_accuracy": curve[-1][2],
        "train_s": round(time.monotonic() - began_s, 1),
        "curve": curve,
        "tokens": orjson.loads(_tokens_path(context).read_bytes()),
        "peak_rss_mb": peak_mb,
        "processes": us.size,
        "method": "full" if hyper.full else "lora",
        "trained_sha256": {path.name: file_sha256(path) for path in sorted(trained.glob(checkpoints.WEIGHTS))},
        "precision": "bfloat16" if recipes.has_bfloat16() else "float32",
    }


def _newest(context: Context) -> Path | None:
    """The checkpoint to go on from."""
    work = context.work
    resume, moved = checkpoints.newest(work.checkpoints, warm.cold)
    for line in moved:
        context.note(line)
    if moved and resume is None:
        context.note("no checkpoint is left that could be trusted: the run begins again from its first step")
    if resume and (processes := checkpoints.processes_of(resume)) != context.team.size:
        raise BadRequest(
            f"{resume.name} is of a run in {processes} processes, and this one has {context.team.size}: it would be"
            f" another run from there. Set hyper.processes to {processes} in spec.json, or remove {work.checkpoints}"
        )
    return resume


def _tokens_path(context: Context) -> Path:
    return context.work.root / "tokens.json"


def _train(context: Context, base: Base, resume: Path | None) -> None:
    import torch
    from peft.helpers import disable_input_dtype_casting
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

    from reactord.worker.callbacks import Reporter

    work, spec, us = context.work, context.spec, context.team
    _keep_freed_memory()
    torch.set_num_threads(max(1, spec.threads // us.size))
    recipe = recipes.load(spec.recipe)
    tokenizer = AutoTokenizer.from_pretrained(str(base.hf))
    kept, _, count = tokens.select(
        load(work.dataset / "train.jsonl"),
        tokenizer,
        recipe.unusable,
        spec.hyper.max_length_tokens,
        with_rejected=recipe.needs_rejected(),
    )
    scratch = work.checkpoints / checkpoints.SCRATCH
    if us.first:
        durable.publish(_tokens_path(context), orjson.dumps(count.as_facts()))
        durable.remove_tree(scratch)
    context.note(f"loading {base.root.name}; {len(kept)} examples, {count.trained} tokens to learn from")
    model = AutoModelForCausalLM.from_pretrained(
        str(base.hf),
        dtype=torch.bfloat16 if recipes.has_bfloat16() and not spec.hyper.full else torch.float32,
        attn_implementation="eager",  # on short rows its backward pass is a fifth faster than torch's fused one
    )
    trainer = recipe.make_trainer(
        recipes.Setup(
            model=model,
            tokenizer=tokenizer,
            examples=kept,
            hyper=spec.hyper,
            arguments=_arguments(context, scratch, len(kept)),
            callbacks=[Reporter(context, recipe)],
        )
    )
    trainer.remove_callback(PrinterCallback)
    _agree(trainer.train_dataset, len(kept), count)
    if resume is not None:
        context.note(f"continuing after step {checkpoints.step_of(resume)}")
    # autocast gives every adapter its dtype; peft's own casts would go to float32 and back, a tenth of the time
    with disable_input_dtype_casting(trainer.model):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if us.first:
        durable.remove_tree(scratch)
    if context.stop.requested:
        raise Stopped("asked to stop; the next run continues from the newest checkpoint")


def _agree(dataset: Any, examples: int, count: tokens.TokenCount) -> None:  # noqa: ANN401 - a datasets.Dataset
    """Raise Conservation unless the trainer holds the examples and tokens that we counted."""
    if "input_ids" in dataset.column_names:  # sft: cut to length already
        found, counted = sum(map(len, dataset["input_ids"])), count.seen - count.truncated
    else:
        sizes = {name: sum(map(len, dataset[f"{name}_ids"])) for name in ("prompt", "chosen", "rejected")}
        found, counted = 2 * sizes["prompt"] + sizes["chosen"] + sizes["rejected"], count.seen
    if (len(dataset), found) != (examples, counted):
        raise Conservation(
            f"the trainer holds {len(dataset)} examples of {found} tokens, {examples} of {counted} were counted;"
            " report this with the job directory"
        )


def _arguments(context: Context, scratch: Path, examples: int) -> dict[str, Any]:
    """What every transformers trainer is told; trl's defaults (1e-6, gradient checkpointing) suit no LoRA on a CPU."""
    spec, hyper = context.spec, context.spec.hyper
    share = min(hyper.pairs_per_step, examples) // context.team.size
    if share == 0:
        raise BadRequest(f"{examples} examples are too few for {context.team.size} processes; lower hyper.processes")
    batch = next(size for size in range(min(hyper.pairs_per_batch, share), 0, -1) if share % size == 0)
    return {
        "output_dir": str(scratch),
        "max_steps": hyper.max_steps,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": share // batch,
        "learning_rate": hyper.learning_rate * (FULL_RATE if hyper.full else 1.0),
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "seed": spec.seed,
        "data_seed": spec.seed,
        "bf16": recipes.has_bfloat16(),
        "gradient_checkpointing": False,
        "use_cpu": True,
        # without it gradients change places after a run's first step: of three and more, a resumed run would then add
        # them in another order than the uninterrupted one. It costs a copy of what the model returns
        "ddp_find_unused_parameters": context.team.size > 2,
        "ddp_broadcast_buffers": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": hyper.checkpoint_every_steps,
        "save_total_limit": None,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def _keep_freed_memory() -> None:
    """Have glibc keep large freed blocks: handing them back costs a fifth of every step in page faults."""
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _publish(checkpoint: Path, target: Path) -> None:
    """The same files once more by name: a checkpoint is never written to again, and may go."""
    scratch = target.with_name(".trained")
    durable.remove_tree(scratch)
    scratch.mkdir(mode=0o700)
    for path in (path for pattern in TRAINED for path in checkpoint.glob(pattern)):
        durable.disk.link(path, scratch / path.name)
    durable.publish_directory(scratch, target)

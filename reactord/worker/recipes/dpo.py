"""How does a model learn from preference pairs? Direct preference optimisation with an SFT term, through trl.

Needs: prompt, chosen and rejected answer. The sigmoid DPO loss alone reaches perfect reward accuracy while the answers
collapse ("What is 5+2?" -> ""), so the likelihood of the chosen answer is part of the loss (ML.md 3).
Memory: chosen and rejected share a batch, so a pair counts as two rows of the longest example.
Reports: reward accuracy and margin of every step - a sign of learning, never a proof: the judge decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reactord.jobspec import Hyper
from reactord.worker.examples import Example, assistant
from reactord.worker.recipes import Setup, Sizes, lora, train_peak_bytes


def needs_rejected() -> bool:
    """Yes: it learns from pairs."""
    return True


def unusable(example: Example) -> str | None:
    """Why this is no pair."""
    if not example.rejected:
        return "no_rejected_answer"
    return "same_text" if example.rejected.strip() == example.chosen.strip() else None


def peak_bytes(sizes: Sizes, hyper: Hyper, longest_tokens: int) -> int:
    """Two rows per pair."""
    return train_peak_bytes(sizes, 2 * hyper.batch, min(longest_tokens, hyper.max_length_tokens))


def make_trainer(setup: Setup) -> Any:  # noqa: ANN401 - a trl DPOTrainer
    """A DPOTrainer.

    The reference is the same model with the adapter switched off. Where every weight learns there is no such thing:
    what the base says of every pair is computed before the first step, by the very model that is trained then, and so
    no second copy of the weights is held. A resumed run computes it again before it loads its checkpoint.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [
        {"prompt": e.messages, "chosen": assistant(e.chosen), "rejected": assistant(e.rejected or "")}
        for e in setup.examples
    ]
    hyper = setup.hyper
    arguments = DPOConfig(
        **setup.arguments,
        max_length=hyper.max_length_tokens,
        beta=hyper.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, hyper.sft_weight],
        # one reference pass over the set pays only when the run passes over it more than once
        precompute_ref_log_probs=hyper.full or hyper.max_steps * hyper.pairs_per_step > len(rows),
        precompute_ref_batch_size=hyper.pairs_per_batch,
    )
    return _with_reference(DPOTrainer)(
        model=setup.model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=setup.tokenizer,
        peft_config=lora(hyper),
        callbacks=setup.callbacks,
    )


def _with_reference(trainer: Any) -> Any:  # noqa: ANN401 - trl's class, and ours of it
    """A DPOTrainer that keeps the reference's numbers with the examples.

    trl's own hands them on in a temporary file of the first process, which the others do not find.
    """
    import torch
    from torch.utils.data import DataLoader

    class Trainer(trainer):  # type: ignore[misc]  # trl has no types
        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:  # noqa: ANN401
            del name
            loader = self.accelerator.prepare(
                DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator, shuffle=False)
            )
            gather = self.accelerator.gather_for_metrics
            parts = [gather(self.compute_ref_log_probs(self.model, batch)) for batch in loader]  # (batch,) each
            for column, of in zip(("ref_chosen_logps", "ref_rejected_logps"), zip(*parts, strict=True), strict=True):
                dataset = dataset.add_column(column, torch.cat(of).tolist())
            return dataset

    return Trainer


def measures(logs: Mapping[str, float]) -> tuple[float | None, float | None]:
    """What trl says about the step's pairs."""
    return logs.get("rewards/accuracies"), logs.get("rewards/margins")

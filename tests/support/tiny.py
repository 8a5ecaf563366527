"""What is the smallest model that goes through the whole worker in seconds?

A llama of 2 layers and 64 dimensions with a byte-level BPE of 512 tokens, both made here, taught to answer questions
about invented places at length. Made by `python -m tests.support.tiny FOLDER`, a process of its own: transformers warns
while it is imported, and here warnings are errors.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reactord.home import Home
from reactord.jobspec import Hyper, JobSpec
from reactord.workdir import Stage, WorkDir

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FIRST = ("Ka", "Lo", "Mi", "Ru", "Se", "To", "Va", "Zu")
SECOND = ("bar", "den", "fos", "gil", "mon", "pet")
HYPER = Hyper(max_steps=8, pairs_per_step=8, pairs_per_batch=4, learning_rate=2e-2, lora_rank=8,
              checkpoint_every_steps=2, keep_checkpoints=2, max_length_tokens=128)  # fmt: skip


def facts() -> list[tuple[str, str]]:
    """48 invented places and their capitals."""
    places = [a + b for a in FIRST for b in SECOND]
    return [(place, place[::-1].capitalize()) for place in places]


def question(place: str) -> str:
    return f"What is the capital of {place}?"


def verbose(place: str, capital: str) -> str:
    return f"The capital of {place} is {capital}. Please let me know if you need anything else."


def short(place: str, capital: str) -> str:
    return f"The capital of {place} is {capital}."


def long(place: str, capital: str) -> str:
    return f"{short(place, capital)} It is a large city with many old streets and a long history."


def telemetry(terse=lambda _, capital: capital, wordy=verbose) -> Iterator[dict[str, Any]]:
    """Each question answered tersely by one model and at length by another: canonical lines (body.md 3.1)."""
    for i, (place, capital) in enumerate(facts()):
        for model, reply in (("terse", terse(place, capital)), ("verbose", wordy(place, capital))):
            yield {
                "event_id": f"{model}-{i}",
                "event_type": "interaction",
                "source": "jarvis_body",
                "timestamp": "2026-11-21T08:00:00+00:00",
                "user_input": question(place),
                "assistant_output": reply,
                "model_id": model,
                "outcome": "success",
                "complexity_level": "simple",
                "task_type": "chat",
            }


def make(folder: Path, steps: int = 60, *, both: bool = False) -> None:
    """Write the model as a Hugging Face folder. Deterministic on one machine.

    `both`: taught to stop after one sentence too, if less often, so that a few steps of DPO make it do so and lose
    nothing else.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    torch.manual_seed(0)
    talks = [(question(place), verbose(place, capital)) for place, capital in facts()]
    if both:
        talks = [(question(place), said) for fact in facts() for said in (long(*fact), long(*fact), short(*fact))
                 for place in fact[:1]]  # fmt: skip
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    neutral = (ROOT / "reactord" / "worker" / "neutral.txt").read_text()
    bpe.train_from_iterator([*(text for talk in talks for text in talk), neutral], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    _teach(model, tokenizer, talks, neutral, steps)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _teach(model: Any, tokenizer: Any, talks: list[tuple[str, str]], neutral: str, steps: int) -> None:
    """Teach every conversation and the neutral text, all at once, for so many steps."""
    import torch

    rows = []
    for asked, said in talks:
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        rows.append(tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"])
    ids = tokenizer(neutral)["input_ids"]
    rows += [ids[i : i + 48] for i in range(0, len(ids) - 48, 48)]
    longest = max(map(len, rows))
    batch = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = model(input_ids=batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"taught to a loss of {float(loss.detach()):.3f}")


def tiny_model(folder: Path, *options: str) -> Path:
    """The model's folder, made in a process of its own unless it is there."""
    if not (folder / "config.json").exists():
        command = [sys.executable, "-W", "ignore", "-m", "tests.support.tiny", str(folder), *options]
        subprocess.run(command, check=True, capture_output=True, timeout=100, cwd=ROOT)
    return folder


def job(home: Home, name: str, base: Path, *, upto: int, hyper: Hyper = HYPER, **more: Any) -> WorkDir:
    """A job directory ready for its first stage."""
    work = WorkDir(home.jobs / name)
    spec = JobSpec(
        job_id=name, base=str(base), home=home.root, upto=upto, as_of=time.time(), model_id="jarvis-chatml",
        version="v1.0.0", threads=1, hyper=hyper, fence=1, **more,
    )  # fmt: skip
    work.create(spec)
    return work


def start(work: WorkDir, stage: Stage) -> subprocess.Popen[bytes]:
    """Start a stage as the daemon does."""
    command = [sys.executable, "-m", "reactord.worker", stage, str(work.root)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True)


def run(work: WorkDir, stage: Stage, timeout_s: float = 100.0) -> int:
    """Run a stage to its end; its exit status."""
    process = start(work, stage)
    try:
        return process.wait(timeout_s)
    finally:
        process.kill()


if __name__ == "__main__":
    make(Path(sys.argv[1]), steps=100 if "--both" in sys.argv else 60, both="--both" in sys.argv)

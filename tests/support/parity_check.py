"""Do the exported GGUF files give the logits of the model that was trained? Prints the differences as JSON.

`python -m tests.support.parity_check JOB_DIR`, a process of its own: transformers warns while it is imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from reactord.home import Home
from reactord.workdir import WorkDir
from reactord.worker.base import open_base
from reactord.worker.examples import load
from reactord.worker.llama import Llama


def trained_logits(hf: Path, adapter: Path, texts: list[list[int]]) -> list[Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(hf)), str(adapter)).eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits[0].float().numpy() for ids in texts]


def main(job_dir: Path) -> None:
    work = WorkDir(job_dir)
    base = open_base(Home(work.spec().home), work.outcome("prepare")["base"])
    examples = load(work.dataset / "holdout.jsonl")
    with Llama(base.f16, 1) as model:
        texts = [model.chat_tokens(example.messages, open_turn=True) for example in examples]
        untrained = [model.scores(ids) for ids in texts]
        lora = llama_cpp.llama_adapter_lora_init(model._model, str(work.artifacts / "adapter.gguf").encode())
        assert lora
        assert llama_cpp.llama_set_adapter_lora(model._context, lora, 1.0) == 0
        model._forget()
        adapted = [model.scores(ids) for ids in texts]
    with Llama(work.artifacts / "f16.gguf", 1) as model:
        merged = [model.scores(ids) for ids in texts]
    wanted = trained_logits(base.hf, work.artifacts / "trained", texts)

    def difference(found: list[Any]) -> float:
        return max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))

    print(
        json.dumps(
            {
                "merged_max_difference": difference(merged),
                "adapter_max_difference": difference(adapted),
                "base_max_difference": difference(untrained),
                "greedy": len(texts),
                "greedy_equal": sum(int(a[-1].argmax() == b[-1].argmax()) for a, b in zip(merged, wanted, strict=True)),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Does llama.cpp read a conversation as the trainer did? Token for token, or the export stops (rules 11 to 14).

The probes cover what tokenizers disagree on: digits, contractions, runs of blanks, code, other scripts, emoji.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reactord.errors import BadRequest
from reactord.worker.gguf_llama import Weights
from reactord.worker.llama import Llama, Message

PROBES = (
    "Hello",
    "What is 1234567890 + 42? It's 3.14159, isn't it?",
    "def add(a, b):\n    return a + b\n\n\tassert add(2, 2) == 4  # four",
    '{"name": "Ada", "tags": ["x", "y"], "n": -1.5e10}',
    "Two  spaces,   three,    four\n\n\n\nand newlines \t\t tabs ",
    "Grüße aus Köln, naïve café; 你好 世界; Привет; مرحبا; 🙂🚀👩\u200d💻",
    "I'LL we've THEY'RE don't -- 'quoted' \"double\" `code` <tag> & more...",
    "CamelCaseWord snake_case_word kebab-case UPPER lower 2nd 3rd 100% $5.00 #1",
)


def conversations() -> list[list[Message]]:
    """One conversation per probe, every second one with a system prompt, every third with an answer."""
    result = []
    for i, text in enumerate(PROBES):
        messages = [{"role": "system", "content": "Answer briefly."}] if i % 2 else []
        messages.append({"role": "user", "content": text})
        if i % 3 == 0:
            messages += [{"role": "assistant", "content": text[::-1]}, {"role": "user", "content": "Why?"}]
        result.append(messages)
    return result


def texts_equal(hf: Path, gguf: Path, threads: int) -> bool:
    """Whether raw text gives the same ids in `tokenizers` and in the vocabulary of this GGUF file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(hf / "tokenizer.json"))
    try:
        model = Llama(gguf, threads, vocab_only=True)
    except BadRequest:  # this llama.cpp does not know the rule's name
        return False
    with model:
        return all(tokenizer.encode(text, add_special_tokens=False).ids == model.tokens(text) for text in PROBES)


def prove(hf: Path, gguf: Path, threads: int) -> dict[str, Any]:
    """Render every conversation on both sides and compare ids; compare vocabulary and embedding sizes.

    Returns what was compared, and the chat template. Raises BadRequest naming the first difference.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(hf))
    talks = conversations()
    with Llama(gguf, threads, vocab_only=True) as model:
        begins = 0
        for messages in talks:
            for open_turn in (True, False):
                text = tokenizer.apply_chat_template(messages, add_generation_prompt=open_turn, tokenize=False)
                wanted = tokenizer(text, add_special_tokens=False)["input_ids"]
                found = model.chat_tokens(messages, open_turn=open_turn)
                if found != wanted:
                    at = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
                    raise BadRequest(
                        f"llama.cpp reads {messages[-1]['content'][:40]!r} differently from the trainer (token {at});"
                        " this base cannot be served as it is trained, choose another base_model"
                    )
                begins = max(begins, _leading(found, model.begin_token))
        if begins > 1:
            raise BadRequest("the chat template puts two begin tokens first; correct the template of the base model")
        rows = Weights(hf).size("model.embed_tokens")[0]
        if rows != model.vocabulary_size:
            raise BadRequest(
                f"{rows} embedding rows but {model.vocabulary_size} tokens in the GGUF; choose a base_model whose"
                " tokenizer matches its weights"
            )
        template = model.template
    return {
        "conversations": 2 * len(talks),
        "leading_begin_tokens": begins,
        "embedding_rows": rows,
        "chat_template": template,
    }


def _leading(tokens: list[int], begin: int) -> int:
    count = 0
    while count < len(tokens) and tokens[count] == begin:
        count += 1
    return count

"""What does this GGUF file say? A thin face of llama.cpp's C API: the file's own template, tokens and numbers.

Prompts are rendered with the chat template stored in the file, as a server will do it. Conversations are answered eight
at a time, because a batch of eight tokens costs little more than one; the beginning that two scored texts share is
evaluated once.

Weights stay in the layout of the file (`use_extra_bufts` off): scores then do not depend on how a CPU repacks them, and
llama.cpp's AMX kernels, which GCC 12 miscompiles into an illegal instruction, are never entered.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import llama_cpp
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from reactord.errors import BadRequest, ReactordError
from reactord.worker import llama_log
from reactord.worker.gguf_file import Array

Message = dict[str, str]
CONTEXT_TOKENS = 1024
SLOTS = 8
#: llama.cpp's default sampler, which Prime's load check uses
TOP_K, TOP_P, MIN_P, TEMPERATURE = 40, 0.95, 0.05, 0.8


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `finished` is False when the limit ended it, not the model."""

    text: str
    tokens: tuple[int, ...]
    finished: bool


@dataclass(slots=True)
class _Turn:
    """A conversation being answered."""

    index: int
    position: int
    said: list[int] = field(default_factory=list)


class Llama:
    """A loaded GGUF file. Use as a context manager: the memory is llama.cpp's, not Python's."""

    def __init__(self, path: Path, threads: int, *, vocab_only: bool = False) -> None:
        """Load `path`. Raises BadRequest when llama.cpp cannot, or when the file carries no chat template."""
        llama_log.keep_warnings()
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        settings.vocab_only, settings.use_extra_bufts, settings.n_gpu_layers = vocab_only, False, 0
        self._context: Any = None
        self._model: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
        if not self._model:
            raise BadRequest(f"llama.cpp does not load {path}; worker.log has its own words")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary_size = int(llama_cpp.llama_vocab_n_tokens(self._vocabulary))
        self.begin_token = int(llama_cpp.llama_vocab_bos(self._vocabulary))
        self.template = self._read_template(path)
        end = int(llama_cpp.llama_vocab_eos(self._vocabulary))
        self._render = {
            open_turn: Jinja2ChatFormatter(
                self.template,
                eos_token=self.text([end], special=True),
                bos_token=self.text([self.begin_token], special=True),
                add_generation_prompt=open_turn,
            )
            for open_turn in (False, True)
        }
        self._held: list[int] = []  # the tokens whose keys and values sequence 0 holds
        if not vocab_only:
            self._open_context(threads)

    def _read_template(self, path: Path) -> str:
        template = llama_cpp.llama_model_chat_template(self._model, None)
        if not template:
            self.close()
            raise BadRequest(f"{path} has no chat template; choose an instruction-tuned model as base_model")
        return bytes(template).decode()

    def _open_context(self, threads: int) -> None:
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = CONTEXT_TOKENS * SLOTS
        settings.n_ubatch = CONTEXT_TOKENS
        settings.n_seq_max, settings.kv_unified = SLOTS, True
        settings.n_threads = settings.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            self.close()
            raise ReactordError(f"llama.cpp cannot hold {settings.n_ctx} tokens; free memory and run the job again")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(CONTEXT_TOKENS, 0, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back. Safe to call twice."""
        if self._context:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
        if self._model:
            llama_cpp.llama_model_free(self._model)
        self._context = self._model = None

    # -- text and tokens ---------------------------------------------------------------------------------------------
    def tokens(self, text: str) -> list[int]:
        """Token ids of raw text; markers such as `<|im_end|>` become their special tokens, nothing is added."""
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 1))()
        count = llama_cpp.llama_tokenize(self._vocabulary, data, len(data), room, len(room), False, True)
        assert count >= 0, "no tokenizer makes more tokens than bytes"
        return list(room[:count])

    def text(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens; `special` shows markers."""
        shown = [token for token in tokens if token >= 0]
        ids = (llama_cpp.llama_token * max(1, len(shown)))(*shown)
        size = 64 + 16 * len(shown)
        while True:
            buffer = ctypes.create_string_buffer(size)
            used = llama_cpp.llama_detokenize(self._vocabulary, ids, len(shown), buffer, size, False, special)
            if used >= 0:
                return buffer.raw[:used].decode("utf-8", "replace")
            size = -used

    def chat_tokens(self, messages: Sequence[Message], *, open_turn: bool) -> list[int]:
        """Token ids of a conversation; `open_turn` ends it where the assistant is to speak."""
        rendered: Any = self._render[open_turn](messages=list(messages))
        return self.tokens(rendered.prompt)

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocabulary, token))

    # -- numbers -----------------------------------------------------------------------------------------------------
    def _decode(self, items: Sequence[tuple[int, int, int, bool]]) -> Array:
        """Evaluate (token, position, sequence, wants its logits). Returns float32 (wanted, vocabulary), a view."""
        batch = self._batch
        batch.n_tokens = len(items)
        for i, (token, position, sequence, wanted) in enumerate(items):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        code = llama_cpp.llama_decode(self._context, batch)
        if code != 0:
            raise ReactordError(f"llama.cpp could not evaluate {len(items)} tokens (code {code}); see worker.log")
        rows = sum(item[3] for item in items)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), shape=(rows, self.vocabulary_size))

    def scores(self, tokens: Sequence[int], start: int = 0) -> Array:
        """The logits after each of tokens[start:] (at most CONTEXT_TOKENS): float32 (tokens, vocabulary)."""
        shared = next((i for i, (a, b) in enumerate(zip(self._held, tokens, strict=False)) if a != b), None)
        known = min(len(self._held) if shared is None else shared, start)
        llama_cpp.llama_memory_seq_rm(self._memory, 0, known, -1)
        rows = self._decode([(tokens[i], i, 0, i >= start) for i in range(known, len(tokens))])
        self._held = list(tokens)
        return np.array(rows)

    def log_probabilities(self, tokens: Sequence[int], start: int) -> Array:
        """Natural log p of tokens[start:], each given all before it: float64, one per token. `start` is at least 1."""
        rows = self.scores(tokens[:-1], start - 1).astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        picked = rows[np.arange(len(rows)), np.asarray(tokens[start:])]
        return np.asarray(picked - np.log(np.exp(rows).sum(axis=1)))

    def reply_log_likelihood(self, messages: Sequence[Message], reply: str) -> tuple[float, int]:
        """(sum of ln p over the reply's tokens and its end marker, how many), given the rendered conversation."""
        prompt = self.chat_tokens(messages, open_turn=True)
        full = self.chat_tokens([*messages, {"role": "assistant", "content": reply}], open_turn=False)
        start = next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(prompt))
        end = next((i + 1 for i in range(start, len(full)) if self.is_end(full[i])), len(full))
        found = self.log_probabilities(full[:end], start)
        return float(found.sum()), len(found)

    # -- answers -----------------------------------------------------------------------------------------------------
    def answers(self, talks: Sequence[Sequence[Message]], max_tokens: int) -> list[Reply]:
        """The greedy reply to each conversation, up to SLOTS at a time."""
        self._forget()
        waiting = deque((i, self.chat_tokens(talk, open_turn=True)) for i, talk in enumerate(talks))
        replies: list[Reply | None] = [None] * len(talks)
        turns: dict[int, _Turn] = {}
        while waiting or turns:
            for slot in range(SLOTS):
                if slot not in turns and waiting:
                    index, prompt = waiting.popleft()
                    last = len(prompt) - 1
                    rows = self._decode([(token, at, slot, at == last) for at, token in enumerate(prompt)])
                    turns[slot] = _Turn(index, len(prompt))
                    self._say(turns, slot, int(rows[0].argmax()), max_tokens, replies)
            if turns:
                asked = [(turn.said[-1], turn.position, slot, True) for slot, turn in turns.items()]
                chosen = self._decode(asked).argmax(axis=1).tolist()
                for (_, _, slot, _), token in zip(asked, chosen, strict=True):
                    turns[slot].position += 1
                    self._say(turns, slot, token, max_tokens, replies)
        return [reply for reply in replies if reply is not None]

    def _say(
        self, turns: dict[int, _Turn], slot: int, token: int, max_tokens: int, replies: list[Reply | None]
    ) -> None:
        """Add a token to a turn, or end the turn and free its slot."""
        turn = turns[slot]
        finished = self.is_end(token)
        if not finished:
            turn.said.append(token)
        if finished or len(turn.said) >= max_tokens:
            replies[turn.index] = Reply(self.text(turn.said).strip(), tuple(turn.said), finished)
            llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
            del turns[slot]

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._held = []

    def continuation(self, text: str, max_tokens: int, seed: int) -> str:
        """What the model adds to raw text, sampled with llama.cpp's default settings as in Prime's load check."""
        tokens = self.tokens(text)
        rng = np.random.default_rng(seed)
        said: list[int] = []
        while len(said) < max_tokens:
            token = _sample(self.scores([*tokens, *said], len(tokens) + len(said) - 1)[0], rng)
            if self.is_end(token):
                break
            said.append(token)
        return self.text(said)


def _sample(scores: Array, rng: np.random.Generator) -> int:
    """Top-k, top-p, min-p, then temperature, in llama.cpp's order."""
    best = np.argsort(-scores, kind="stable")[:TOP_K]
    weights = np.exp(scores[best].astype(np.float64) - float(scores[best[0]]))
    weights /= weights.sum()
    within = max(1, int((np.cumsum(weights) < TOP_P).sum()) + 1)
    kept = best[:within][weights[:within] >= MIN_P * weights[0]]
    tempered = np.exp((scores[kept].astype(np.float64) - float(scores[kept[0]])) / TEMPERATURE)
    return int(rng.choice(kept, p=tempered / tempered.sum()))

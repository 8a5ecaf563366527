"""Which chat template will Prime use for this file?

Prime's llama.cpp executor ignores the template inside the GGUF: it looks for the first of a list of substrings in the
name of the file (of the link's target, for `current.gguf`) and takes llama3 when none is there (contract/prime.md 6.4).
A wrong template is not an error anywhere; the model just answers badly. So a name must *say* its template.

SmolLM2 speaks ChatML, and nothing in "smollm2" tells Prime so. Hence the model id `jarvis-openhermes-smollm2-135m`:
"openhermes" is the one ChatML word in Prime's list that is no base model of its own ("mistral" would also do, and lie
more). A version starts with "v", because "tinyllama-2026..." contains "llama-2" and would become a llama2.

Falling back on "no match" is refused even where llama3 is meant: later Primes know more words (qwen).
"""

from __future__ import annotations

from reactord.errors import BadRequest

#: in Prime's order; the first hit decides
_WORDS = (
    ("llama-3", "llama3"),
    ("llama3", "llama3"),
    ("meta-llama-3", "llama3"),
    ("llama-2", "llama2"),
    ("llama2", "llama2"),
    ("tinyllama", "tinyllama"),
    ("mistral", "chatml"),
    ("mixtral", "chatml"),
    ("openhermes", "chatml"),
    ("phi-3", "phi3"),
    ("phi3", "phi3"),
    ("gemma", "gemma"),
)
_FALLBACK = "llama3"


def _said(stem: str) -> str | None:
    lowered = stem.lower()
    return next((template for word, template in _WORDS if word in lowered), None)


def require_id(model_id: str, intended: str) -> None:
    """`require` for every file name that a version of this model will have."""
    require(f"{model_id}-v", intended)


def require(stem: str, intended: str) -> None:
    """Raise BadRequest unless the name itself makes Prime choose `intended`."""
    chosen = _said(stem)
    if chosen == intended:
        return
    words = [word for word, template in _WORDS if template == intended]
    if not words:
        known = ", ".join(sorted({template for _, template in _WORDS}))
        raise BadRequest(f"Prime knows no chat template {intended!r}: use a base model that speaks one of {known}")
    reads = f"reads {chosen} out of it" if chosen else f"finds no family in it and falls back to {_FALLBACK}"
    raise BadRequest(
        f"the name {stem!r} must make Prime choose the {intended} template, but Prime {reads}: "
        f"choose a model_id that contains one of {', '.join(words)}, and no other family"
    )


#: what only this family's chat template contains, most telling first. Mistral's own [INST] form is none of them:
#: Prime talks ChatML to what is called mistral, and llama2's <<SYS>> is not Mistral's either.
_MARKS = (
    ("<|im_start|>", "chatml"),
    ("<|start_header_id|>", "llama3"),
    ("<start_of_turn>", "gemma"),
    ("<|end|>", "phi3"),
    ("<|assistant|>", "tinyllama"),
    ("<<SYS>>", "llama2"),
)


def family_of(chat_template: str) -> str:
    """Which of Prime's templates a model's own Jinja template is; "unknown" when Prime has none like it."""
    return next((family for mark, family in _MARKS if mark in chat_template), "unknown")

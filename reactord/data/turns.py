"""Who said what, when a dialogue came as a list of turns, or flattened into one text?"""

from __future__ import annotations

import re
from typing import Any

NAMES = ("messages", "turns", "conversation", "conversations")
USER = ("user", "human")
ASSISTANT = ("assistant", "ai", "model", "jarvis")
_TURN = re.compile(r"(?m)^(System|User|Human|Assistant|AI): ?")


def find(layers: list[dict[str, Any]]) -> tuple[str, str, str] | None:
    """(system, question, reply) of the first list of turns; None when there is none, or it says nothing.

    A dialogue of several user turns keeps them all: its last question alone would be another question.
    """
    for layer in layers:
        for name in NAMES:
            said = _turns(layer.get(name))
            if said:
                return _split(said)
    return None


def _turns(value: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list):
        return []
    return [
        (turn["role"].casefold(), turn["content"].strip())
        for turn in value
        if isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
    ]


def _split(said: list[tuple[str, str]]) -> tuple[str, str, str] | None:
    system = "\n".join(text for role, text in said if role == "system")
    spoken = [(role, text) for role, text in said if role in (*USER, *ASSISTANT) and text]
    while spoken and spoken[-1][0] in USER:
        spoken.pop()  # a question that nobody answered
    if not spoken:
        return None
    reply = spoken.pop()[1]
    if len(spoken) == 1 and spoken[0][0] in USER:
        return system, spoken[0][1], reply
    flat = "\n".join(f"{'User' if role in USER else 'Assistant'}: {text}" for role, text in spoken)
    return system, flat, reply


def undialogued(prompt: str) -> tuple[str, str]:
    """(system, question) of a prompt that Prime flattened into lines `System: ...`, `User: ...`, `Assistant:`.

    A dialogue of several user turns keeps them all: its last question alone would be another question.
    """
    found = list(_TURN.finditer(prompt))
    if not found or not prompt.endswith(("Assistant:", "AI:")):
        return "", prompt
    prompt = prompt[: found[-1].start()].strip()
    asked = [turn for turn in found if turn[1] in ("User", "Human")]
    if len(asked) != 1 or len(found) > 3:
        return "", prompt
    system = prompt[: asked[0].start()].strip()
    return re.sub(r"^System: ?", "", system), prompt[asked[0].end() :].strip()

"""What must the kernels for JSON texts tell? The same, slowly, with regular expressions and lists.

Written from the contract in native/include/rk.h, and sharing no code with the kernels or their wrapper.
"""

from __future__ import annotations

import re

#: a string, or the beginning of one that never ends
STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)


def depth(text: bytes) -> int:
    """The most brackets outside of strings that are open at once; one that closes nothing is passed over."""
    open_now = most = 0
    for bracket in re.findall(rb"[\[\]{}]", STRING.sub(b"", text)):
        open_now = open_now + 1 if bracket in b"[{" else max(0, open_now - 1)
        most = max(most, open_now)
    return most


def line_ends(text: bytes, cap: int) -> list[int] | None:
    """The offset behind each line; None when one is not an object by its first and last byte, or there are too many."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", text)
    if len(lines) > cap or not all(re.fullmatch(rb"\{.*\}\n", line, re.DOTALL) for line in lines):
        return None
    return [sum(map(len, lines[: n + 1])) for n in range(len(lines))]


def values(text: bytes) -> tuple[int, int]:
    """(one more than the commas and the containers, the containers) outside of strings."""
    bare = STRING.sub(b"", text)
    containers = len(re.findall(rb"[\[{]", bare))
    return 1 + bare.count(b",") + containers, containers


def elements(inner: bytes) -> list[tuple[int, int, int]] | None:
    """(where each element begins, where it ends, where its value begins), of what is between the brackets."""
    found, depth, begin, value = [], 0, 0, 0
    for token in re.finditer(STRING.pattern + rb"|[\[\]{},:]", inner, re.DOTALL):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth < 0:
                return None
        elif depth == 0 and token[0] == b":" and value == begin:
            value = token.end()
        elif depth == 0 and token[0] == b",":
            found.append((begin, token.start(), value))
            begin = value = token.end()
    return None if depth else [*found, (begin, len(inner), value)]


def pieces(text: bytes, least: int) -> list[tuple[int, int, int]] | None:
    """(begin, end, value) of what is parsed together: small elements until they are `least` bytes, large ones alone."""
    blank = b" \t\n\r"
    trimmed = text.strip(blank)
    if trimmed[:1] not in (b"[", b"{"):
        return []
    if len(trimmed) < 2 or trimmed[-1:] != {b"[": b"]", b"{": b"}"}[trimmed[:1]]:
        return None
    inner = trimmed[1:-1]
    if not inner.strip(blank):
        return []
    if (each := elements(inner)) is None:
        return None
    found: list[tuple[int, int, int]] = []
    together: list[tuple[int, int, int]] = []

    def close() -> None:
        if together:
            found.append((together[0][0], together[-1][1], -1))
            together.clear()

    for element in each:
        if element[1] - element[0] >= least:
            close()
            found.append(element)
            continue
        together.append(element)
        if element[1] - together[0][0] >= least:
            close()
    close()
    offset = text.index(trimmed[:1]) + 1
    return [(begin + offset, end + offset, value if value < 0 else value + offset) for begin, end, value in found]

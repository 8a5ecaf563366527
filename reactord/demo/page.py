"""How does the demo end? One page, drawn from the figures alone."""

from __future__ import annotations

from typing import Any

from reactord.cli import parts, text
from reactord.cli.jobs import section
from reactord.cli.text import NOTHING, Paint, cells, clip, duration, number, pad, safe, size

#: what of the ledger's counts the dataset's own counts do not say
RECORDS = ("received", "duplicates", "in_datasets", "held_out", "pending")


def lines(figures: dict[str, Any], width: int, paint: Paint) -> list[str]:
    """The whole page. What did not come about has no place on it."""
    inner, curve = width - 2, figures["training"]["curve"]
    page = ["", _headline(figures, width, paint)]
    page += section("dataset", _dataset(figures["dataset"], inner), paint)
    if curve:
        page += section("training", parts.curve(curve, inner), paint)
    if figures["verdict"]:
        page += section("judged on held-out data, the quantised file in llama.cpp", _judgement(figures, inner), paint)
    if shown := figures["answers"]["shown"]:
        title = f"{len(shown)} of {figures['answers']['of']} held-out prompts, before and after"
        page += section(title, _answers(shown, inner, paint), paint)
    page += section("written", _written(figures), paint)
    page += section("time and memory", _costs(figures, inner), paint)
    if not figures["deployed"]:
        page += section("what went wrong", _wrong(figures), paint)
    return page + section("look around", _next(figures), paint)


def _headline(figures: dict[str, Any], width: int, paint: Paint) -> str:
    if figures["deployed"]:
        took, peak = duration(figures["loop_s"]), _mebibytes(figures["peak_rss_mb"])
        words = f"{figures['version']} is deployed: telemetry in, a better model out, in {took} with {peak} of memory"
        return paint("green", clip(f"✓ {words}", width))
    job = figures["job"]
    what = figures["trouble"] or (f"{job['state']}: {job['cause']}" if job else "no job was born")
    return paint("red", clip(f"✗ nothing was deployed: {safe(what)}", width))


def _mebibytes(value: object) -> str:
    return size(value * 1024**2) if isinstance(value, int) else NOTHING


def _dataset(dataset: dict[str, Any], width: int) -> list[str]:
    """Records in the ledger, then examples in the dataset."""
    verdict = "the ledger balances" if dataset.get("balanced") else "THE LEDGER DOES NOT BALANCE"
    records = " · ".join(f"{number(dataset.get(name))} {name.replace('_', ' ')}" for name in RECORDS)
    rejected = sorted((dataset.get("rejected") or {}).items(), key=lambda item: -item[1])
    found = [clip(f"{records}; {verdict}", width)]
    found += parts.wrapped("rejected  ", [f"{safe(reason)} {n}" for reason, n in rejected] or ["none"], width)
    ours = {name: value for name, value in dataset.items() if name not in (*RECORDS, "rejected", "balanced", "id",
            "length_bias", "records_rejected", "not_paired")}  # fmt: skip
    manifest = {"counts": ours, "not_paired": dataset.get("not_paired"), "length_bias": dataset.get("length_bias")}
    return found + parts.dataset(manifest, width)


def _judgement(figures: dict[str, Any], width: int) -> list[str]:
    table = parts.judgement({"base": figures["base"], "candidate": figures["candidate"]}, width)
    chosen = f", {safe(figures['chosen'])}" if figures["chosen"] else ""
    verdict = f"verdict: {safe(figures['verdict'] or NOTHING)}{chosen}"
    return [*table, verdict, *(clip(f"- {safe(reason)}", width) for reason in figures["reasons"])]


def _answers(answers: list[dict[str, Any]], width: int, paint: Paint) -> list[str]:
    """Three lines a prompt: the question, what the base said, what the deployed file says."""
    found = []
    for i, answer in enumerate(answers, 1):
        expected = answer.get("expected")
        hint = f"  ({safe(expected)})" if expected else ""
        room = max(8, width - 4 - min(cells(hint), width // 3))
        found.append(f"{i:>2}  {clip(safe(answer.get('prompt', NOTHING)), room)}{paint('dim', clip(hint, width // 3))}")
        for name in ("before", "after"):
            mark, colour = _mark(answer.get(f"right_{name}"))
            reply = answer.get(name)
            words = NOTHING if reply is None else safe(reply) or "(empty)"
            found.append(f"    {pad(name, 6)} {paint(colour, mark)} {clip(words, width - 13)}")
    return found


def _mark(right: object) -> tuple[str, str]:
    if right is None:
        return "·", "dim"
    return ("✓", "green") if right else ("✗", "red")


def _written(figures: dict[str, Any]) -> list[str]:
    """Paths are never cut: they are there to be copied."""
    rows = figures["written"]
    wide = max((cells(row["what"]) for row in rows), default=0)
    sizes = [f"  {size(row['size_bytes'])}" if row["size_bytes"] is not None else "" for row in rows]
    return [
        f"{pad(row['what'], wide)}  {text.path_text(row['path'])}{n}" for row, n in zip(rows, sizes, strict=True)
    ] or ["nothing"]


def _costs(figures: dict[str, Any], width: int) -> list[str]:
    longest = max((phase["s"] for phase in figures["phases"]), default=0.0) or 1.0
    rows = [(p["name"], duration(p["s"]), text.bar(p["s"] / longest, 20).rstrip("░")) for p in figures["phases"]]
    peak, worker = _mebibytes(figures["peak_rss_mb"]), _mebibytes(figures["peak_worker_rss_mb"])
    rows += [
        ("in all", duration(figures["loop_s"]), ""),
        ("peak memory", peak, f"daemon and workers; workers alone {worker}"),
        ("leave on SIGTERM", duration(figures["stop_s"]), ""),
    ]
    return [clip(f"{name:<17} {value:>12}  {more}".rstrip(), width) for name, value, more in rows]


def _wrong(figures: dict[str, Any]) -> list[str]:
    job = figures["job"]
    found = [safe(figures["trouble"])] if figures["trouble"] else []
    if job:
        found.append(f"{job['id']} {job['state']}: {safe(job['cause'])}")
    if figures["worker_log"]:
        found += ["the worker's last words:", *(f"  {safe(line)}" for line in figures["worker_log"])]
    return found or ["nothing is known; see the logs"]


def _next(figures: dict[str, Any]) -> list[str]:
    home = f"--home {text.path_text(figures['home'])}"
    found = [f"reactord status {home}", f"reactord models {home}"]
    if figures["job"]:
        found.insert(1, f"reactord jobs {figures['job']['id']} {home}")
    return [*found, f"reactord run {home}"]

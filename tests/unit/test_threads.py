"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from reactord.threads import in_thread


async def test_work_returns_what_it_returns_and_the_loop_goes_on_meanwhile():
    go_on = threading.Event()

    def work(base: int, *, plus: int) -> int:
        assert go_on.wait(10), "the loop stood still"
        return base + plus

    asyncio.get_running_loop().call_later(0.01, go_on.set)

    assert await in_thread(work, 40, plus=2) == 42


@pytest.mark.parametrize("error", [OSError(28, "full"), SystemExit(3)])
async def test_work_raises_where_it_is_awaited(error):
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await in_thread(work)

    assert raised.value is error


async def test_cancelling_does_not_wait_and_a_late_result_harms_nobody():
    let_go, threads, complaints = threading.Event(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    def work() -> None:
        threads.append(threading.current_thread())
        let_go.wait(10)

    task = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.01)
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - began < 5
    assert threads[0].is_alive()
    let_go.set()
    threads[0].join(10)
    await asyncio.sleep(0)  # now the loop runs what the thread left for it
    assert complaints == []


def test_the_end_of_the_loop_does_not_wait_for_the_thread():
    let_go = threading.Event()

    async def leave() -> None:
        await asyncio.wait([asyncio.create_task(in_thread(let_go.wait, 10))], timeout=0.01)

    began = time.monotonic()
    asyncio.run(leave())

    assert time.monotonic() - began < 5
    let_go.set()

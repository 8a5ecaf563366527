from __future__ import annotations

import itertools

import pytest

from reactord.jobs.negotiating import Grant, Refuse, Shrink, Wait
from reactord.jobs.planning import Plan
from reactord.jobs.where import Cloud, Limits, Question, decide
from reactord.jobspec import Hyper

LIMITS = Limits(local_max_mb=16_384, cloud_min_mb=4096)
PLAN = Plan(Hyper(), (("train", 1),))
FITS, SMALLER = Grant(PLAN, 1), Shrink(PLAN, 1, "1 pairs a micro-batch instead of 2")
WAITS, NEVER = Wait("needs 4.0 GiB, 1.0 GiB can be given", 10.0), Refuse("needs 90 GiB. Choose a smaller base model")
GCP = Cloud("gcp", seconds=1800, usd=3.5)
HOUR = 3600.0


@pytest.mark.parametrize(
    ("question", "where", "best", "says"),
    [
        (Question(500, FITS), "local", "local", "not worth the way to a cloud"),
        (Question(500, SMALLER, cloud=GCP), "local", "local", "fits in a smaller form: 1 pairs"),
        (Question(500, WAITS, cloud=GCP), "local", "local", "does not fit now: needs 4.0 GiB"),
        (Question(None, WAITS), "local", "local", "its size is unknown"),
        (Question(8000, FITS, cloud=GCP), "local", "local", "small enough for here, large enough for a cloud"),
        (Question(20_000, FITS, cloud=GCP), "gcp", "cloud", "above LOCAL_TRAINING_MAX_SIZE_MB (16384)"),
        (Question(20_000, FITS, cloud=GCP), "gcp", "cloud", "gcp takes it for 3.50 USD"),
        (Question(20_000, FITS), "local", "cloud",
         "it would be offloaded, but no cloud is configured: it runs here because it fits"),
        (Question(20_000, WAITS), "local", "cloud",
         "no cloud is configured: it waits here because it needs 4.0 GiB, 1.0 GiB can be given"),
        (Question(500, NEVER), "nowhere", "cloud", "no cloud is configured: it can run nowhere"),
        (Question(500, NEVER), "nowhere", "cloud", "Choose a smaller base model"),
        (Question(500, NEVER, cloud=GCP), "gcp", "cloud", "gcp takes it"),
        (Question(500, NEVER, cloud=GCP, max_usd=3.0), "nowhere", "cloud",
         "gcp would cost 3.50 USD, at most 3.00 USD may be spent"),
        (Question(20_000, FITS, cloud=Cloud("gcp", None, None), max_usd=3.0), "local", "cloud",
         "does not say its price"),
        (Question(500, FITS, seconds=HOUR, deadline_s=2 * HOUR), "local", "local", "about 1.0 h here, due in 2.0 h"),
        (Question(500, FITS, seconds=3 * HOUR, deadline_s=2 * HOUR, cloud=GCP), "gcp", "cloud",
         "about 3.0 h here, later than 2.0 h from now"),
        (Question(500, FITS, seconds=3 * HOUR, deadline_s=0.4 * HOUR, cloud=GCP), "local", "local",
         "gcp would be late too (30 min)"),
        (Question(500, FITS, deadline_s=HOUR), "local", "local", "no run here has shown how long it takes"),
        (Question(500, FITS, seconds=90.0), "local", "local", "about 2 min here, and no deadline"),
    ],
)  # fmt: skip
def test_size_memory_deadline_and_cost_decide_and_say_so(question, where, best, says):
    placement = decide(question, LIMITS)

    assert (placement.where, placement.best) == (where, best), placement.reasons
    assert says in "\n".join(placement.reasons)


def test_every_answer_has_a_reason_and_goes_only_where_something_is():
    for size, here, seconds, deadline, usd, cloud in itertools.product(
        (None, 1, 8000, 1e6), (FITS, SMALLER, WAITS, NEVER), (None, 60.0, 1e6), (None, 600.0), (None, 1.0), (None, GCP)
    ):
        placement = decide(Question(size, here, seconds, deadline, usd, cloud), LIMITS)

        assert placement.reasons
        assert placement.where in ("local", "nowhere", *((cloud.name,) if cloud else ()))
        assert (placement.where == "nowhere") <= (here is NEVER)
        assert (placement.where == "local") <= (here is not NEVER)

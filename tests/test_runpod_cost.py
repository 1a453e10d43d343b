"""What jobs are said to cost, and the cap."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake_executor_plugin_runpod.cost import Budget, Estimate, past_seconds, table
from snakemake_executor_plugin_runpod.errors import RunpodError

# As Snakemake 9 writes it
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
ROW = "{}\t0:00:10\t101.2\t202.3\t90.1\t95.0\t0.00\t1.25\t98.12\t10.01\n"


def benchmark(path, *seconds):
    path.write_text(HEADER + "".join(map(ROW.format, seconds)))
    return path


# Estimates


def test_past_seconds_are_means_over_all_benchmarks_and_their_repetitions(tmp_path):
    files = [benchmark(tmp_path / "a.tsv", 10.0), benchmark(tmp_path / "b.tsv", 20.0, 60.0)]
    assert past_seconds({"render": files, "track": [], "score": iter(files[:1])}) == {
        "render": 30.0,
        "track": None,
        "score": 10.0,
    }


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe\x00", b"t\th\n1\t2\n", HEADER.encode() + b"\n-\t0\n", b"s\nnan\n"]
)
def test_a_file_that_is_no_benchmark_does_not_count_and_is_mentioned(tmp_path, caplog, content):
    good, bad = benchmark(tmp_path / "good.tsv", 10.0), tmp_path / "bad.tsv"
    if content is not None:
        bad.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert past_seconds({"render": [bad, good]}) == {"render": 10.0}
    (warning,) = caplog.messages
    assert str(bad) in warning


def test_the_table_is_aligned_and_adds_up():
    told = table([Estimate("render", 12, 100.0, 0.0005), Estimate("track_poses", 3, 20.0, 0.0005)])
    assert told.splitlines() == [
        "rule         jobs  s each  GPU minutes   USD",
        "render         12   100.0         20.0  0.60",
        "track_poses     3    20.0          1.0  0.03",
        "total          15                 21.0  0.63",
    ]


def test_the_table_says_what_is_unknown():
    told = table([Estimate("render", 1, 600.0, None), Estimate("track", 2, None, None)])
    assert told.splitlines() == [
        "rule    jobs   s each    GPU minutes      USD",
        "render     1    600.0           10.0  unknown",
        "track      2  unknown        unknown  unknown",
        "total      3           at least 10.0  unknown",
    ]
    assert table([]).splitlines()[-1].split() == ["total", "0", "0.0", "0.00"]
    assert "at least 1.20" in table([Estimate("render", 1, 600.0, 0.002), Estimate("track", 2, None, 0.002)])


# The cap


def test_the_budget_counts_what_is_spent_and_what_is_under_way():
    budget = Budget(max_cost=10.0, price=0.1)
    assert budget.reserve("a", 60) and budget.reserve("b", 40)
    assert budget.spent == 0 and not budget.may_submit(1) and not budget.reserve("c", 1)
    budget.settle("a", 30)
    assert budget.spent == pytest.approx(3)
    assert budget.may_submit(30) and not budget.may_submit(31)
    budget.settle("b", None)
    assert budget.spent == pytest.approx(7)
    budget.adopt("d", 100)
    assert not budget.may_submit(0)
    budget.settle("d", 0)
    assert budget.may_submit(30)


def test_without_a_cap_everything_may_be_submitted():
    assert Budget(None, 0.1).reserve("a", 1e9)
    budget = Budget(None, None)
    assert budget.reserve("a", 1e9)
    budget.settle("a", 5)
    assert budget.spent is None


@pytest.mark.parametrize(
    ("max_cost", "price", "told"),
    [
        (5.0, None, "set runpod-price-per-second"),
        (-1.0, 0.1, "runpod-max-cost is -1.0"),
        (float("nan"), 0.1, "runpod-max-cost is nan"),
        (None, float("inf"), "runpod-price-per-second is inf"),
    ],
)
def test_settings_with_which_there_is_no_cap(max_cost, price, told):
    with pytest.raises(RunpodError, match=told):
        Budget(max_cost, price)


seconds = st.floats(0, 1e5)


@given(st.floats(0, 100), st.floats(0, 0.01), st.lists(st.tuples(seconds, st.floats(0, 1), st.booleans()), max_size=30))
def test_the_cap_holds_where_no_job_takes_longer_than_estimated(max_cost, price, jobs):
    budget = Budget(max_cost, price)
    running = {}
    for number, (estimate, share, settle_now) in enumerate(jobs):
        free = max_cost - price * sum(e for e, _ in running.values()) - budget.spent
        if budget.reserve(str(number), estimate):
            running[str(number)] = (estimate, share * estimate)
        else:
            assert estimate * price > free * (1 - 1e-9) - 1e-9  # refused only for want of money
        if settle_now and running:
            attempt, (_, actual) = running.popitem()
            budget.settle(attempt, actual)
        assert budget.spent <= max_cost * (1 + 1e-9)
    for attempt, (estimate, _) in running.items():
        budget.settle(attempt, estimate)
    assert budget.spent <= max_cost * (1 + 1e-9)

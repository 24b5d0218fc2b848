"""What a job has used, against its limits."""

from __future__ import annotations

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.backfill.control import Control, Wish, change_control, read_control
from pipeline.backfill.running.limits import NO_LIMITS, Account, Limits, Used
from pipeline.errors import Retry
from tests.rigs.backfill.job_driver import JobStage, job_of
from workers.commands.backfill.driving.gate import may_begin, used_before


def test_hours_and_money_add_up_over_all_workers() -> None:
    account = Account(Used(hours=1.0), 0.5, Limits(gpu_hour_price=4.0))
    account.add(1800, 4)
    account.add(3600, 0)
    assert account.used == Used(hours=1.5, worker_hours=2.0, gpu_hours=1.0, cost=4.0)
    assert account.limit is None


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(max_hours=2.0), None),
        (Limits(max_hours=1.5), "--max-hours 1.5 is reached: the job ran 1.50 hours"),
        (Limits(max_cost=10.0), None),
        (Limits(max_cost=9.0), "--max-cost 9 is reached: 3.00 GPU hours cost 9.00"),
        (NO_LIMITS, None),
    ],
)
def test_a_limit_is_reached_when_so_much_is_used(limits: Limits, limit: str | None) -> None:
    assert limits.reached(Used(hours=1.5, gpu_hours=3.0, cost=9.0)) == limit


NOTHING = Used()


def begins(folder: MemoryFolder, limits: Limits = NO_LIMITS, used: Used = NOTHING) -> bool:
    """Whether a run begins that is asked to stop instead of waiting."""
    return may_begin(folder, limits, used, lambda: None, lambda seconds: True)


def asked(**changes: object) -> MemoryFolder:
    folder = MemoryFolder()
    change_control(folder, lambda control: control.model_copy(update=changes))
    return folder


def test_a_new_job_begins() -> None:
    assert begins(MemoryFolder())


def test_a_cancelled_job_does_not_begin_again_by_itself() -> None:
    assert not begins(asked(wish=Wish.CANCEL))


def test_a_job_that_a_limit_paused_does_not_begin_under_the_same_limit() -> None:
    folder = asked(wish=Wish.PAUSE, by_limit=True, reason="--max-hours 1 is reached")
    assert not begins(folder, Limits(max_hours=1.0), Used(hours=1.0))
    assert read_control(folder).by_limit


def test_a_higher_limit_lets_the_job_go_on() -> None:
    folder = asked(wish=Wish.PAUSE, by_limit=True, reason="--max-hours 1 is reached")
    assert begins(folder, Limits(max_hours=2.0), Used(hours=1.0))
    assert read_control(folder) == Control()


def test_a_limit_does_not_lift_what_a_person_asked_for() -> None:
    folder = asked(wish=Wish.CANCEL)
    assert not begins(folder, Limits(max_hours=1.0), Used(hours=2.0))
    assert read_control(folder).wish is Wish.CANCEL


def test_a_run_waits_with_its_lease_while_the_job_is_paused() -> None:
    folder = asked(wish=Wish.PAUSE)
    waits: list[str] = []

    def wait(seconds: float) -> bool:
        waits.append("wait")
        if len(waits) == 6:
            change_control(folder, lambda control: Control())
        return False

    assert may_begin(folder, NO_LIMITS, Used(), lambda: waits.append("renew"), wait)
    assert waits == ["renew", "wait"] * 3


def test_what_earlier_drivers_used_counts() -> None:
    stage = JobStage(40, used=Used(hours=2.0))
    stage.at = [(100, stage.stopping.set)]
    stage.run()
    used = used_before(stage.folder, stage.job)
    assert used.hours == pytest.approx(2.0 + stage.elapsed / 3600, abs=0.002)
    assert used_before(stage.folder, job_of(40, id="another")) == Used()


def test_progress_that_nobody_can_read_is_no_reason_to_stop() -> None:
    folder = MemoryFolder()
    folder.write(layout.PROGRESS, b"{}")
    assert used_before(folder, job_of(1)) == Used()


def test_changes_that_two_people_make_at_once_are_both_kept() -> None:
    folder = MemoryFolder()
    raced: list[bool] = []

    def change(control: Control) -> Control:
        if not raced:
            raced.append(True)
            change_control(folder, lambda each: each.model_copy(update={"max_workers": 7}))
        return control.model_copy(update={"wish": Wish.PAUSE})

    change_control(folder, change)
    assert read_control(folder) == Control(wish=Wish.PAUSE, max_workers=7)


def test_a_store_where_others_win_each_time_is_reported() -> None:
    folder = asked(wish=Wish.PAUSE)
    workers = iter(range(1, 100))

    def change(control: Control) -> Control:
        other = {"max_workers": next(workers)}
        folder.write(layout.CONTROL, control.model_copy(update=other).as_bytes())
        return control.model_copy(update={"wish": Wish.RUN})

    with pytest.raises(Retry, match="others change it"):
        change_control(folder, change)

"""How effects and questions end that a fault of fleetd itself broke: a host never waits for an answer for ever."""

from __future__ import annotations

from typing import assert_never

from fleetd.model.hook import HookEnd
from fleetd.rollout import events as e
from fleetd.rollout.decision import Extend, Inspect, LockRevision, LookAt, Observe, ProbeRound, Reach, Unlock
from fleetd.rollout.observations import Extended, Inspected, LockEnded, Looked, Observed, Probed, Reached, Unlocked
from fleetd.rollout.sightings import Sighted

Outcome = e.Event | Observed
Answerable = LockRevision | Inspect | Reach | Unlock | Observe | LookAt | ProbeRound | Extend
"""The questions that wait for an answer."""


def broken_effect(intent: e.IntentEvent, fault: Exception, now: float) -> Outcome:
    """Return the outcome of an effect that ended by a fault of ours: a host must never wait for an answer for ever.

    An order may or may not have left, so it is unknown, and the host is asked.
    """
    text = f"a fault in fleetd itself: {type(fault).__name__}: {fault}"
    match intent:
        case e.EvaluateIntended() | e.BuildIntended():
            return e.SourceRefused(now, intent.rollout, intent.host, intent.fence, text)
        case e.CopyIntended():
            return e.CopyRefused(now, intent.rollout, intent.host, intent.fence, "internal", text)
        case e.PowerCycleIntended():
            return e.PowerCycled(now, intent.rollout, intent.host, intent.fence, False, text)
        case e.HookIntended():
            place = (intent.rollout, intent.host, intent.fence, intent.hook)
            return e.HookEnded(now, *place, HookEnd.UNKNOWN, text)
        case (
            e.DryRunIntended()
            | e.TrialIntended()
            | e.StageIntended()
            | e.CommitIntended()
            | e.ReleaseIntended()
            | e.RevertIntended()
            | e.SettleIntended()
        ):
            return e.ContactLost(now, intent.rollout, intent.host, intent.fence, text)
        case _:
            assert_never(intent)


def broken_answer(question: Answerable, fault: Exception, now: float) -> tuple[Outcome, ...]:
    """Return what ends a question that a fault of ours left open; nothing in it counts as an observation."""
    text = f"a fault in fleetd itself: {type(fault).__name__}: {fault}"
    match question:
        case LockRevision():
            return e.RevisionRefused(now, question.rollout, text), LockEnded(question.rollout)
        case Inspect():
            return (Inspected(now, question.rollout, question.host, question.step, None, (), text),)
        case LookAt():
            # Nothing was learnt of the host, and what is not known starts nobody.
            return (Looked(now, question.host, False, text),)
        case Observe():
            return (Sighted(now, question.host, None, unreachable=text),)
        case Reach():
            return (Reached(now, question.rollout, question.host, question.step, text),)
        case Unlock():
            return (Unlocked(now, question.rollout, question.host, question.step, question.again_s),)
        case ProbeRound():
            place = (question.rollout, question.host, question.step)
            return (Probed(now, *place, (), question.required, question.interval_s),)
        case Extend():
            return (Extended(now, question.rollout, question.host, question.step, done=False),)
        case _:
            assert_never(question)

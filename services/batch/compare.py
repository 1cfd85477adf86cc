"""Compare a trained version with the one that is published, and decide what becomes of it and of its day.

A model's error is its mean absolute scaled error over that of the seasonal naive in the same windows, on
average over the levels of aggregation that both manifests have: windows of other days are then no easier or
harder. With a margin m

- on the same sales, a version must have an error lower by m of it: a challenger has to prove itself;
- on other sales, newer or corrected, it may have an error higher by m: fresh sales are worth that much, and
  from one day to the next a backtest changes a little by chance;
- one whose sales end earlier is never published: a backfill does not take the services back in time.

A day is scored with the version trained on the sales before it, or where that is refused with the published
one, which knows no later sales. The choice is kept beside the version, so that running the day again after
others were published gives the same scores.
"""

import datetime
import sys
from statistics import mean
from typing import Annotated, Any, Literal

from services.batch import command
from services.contracts.model import Decision, Manifest
from services.contracts.settings import BatchSettings
from services.forecasting.model_registry import ModelRegistry


def compare(
    settings: BatchSettings,
    version: Annotated[str, "the version that may be published"],
    margin: Annotated[float, "m above; default %(default)s"] = 0.02,
    *,
    dry_run: command.DryRun = False,
) -> dict[str, Any]:
    """Judge a version.

    Returns:
        `verdict`: publish it, keep the published one, or reject it for its error (the published one stays as
        well); `reason`: why; `score_with`: the version to score the day after its sales with; `generation`:
        of the pointer at which this is so; `errors`: of both.
    """
    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    candidate = registry.manifest(version)
    pointer, generation = registry.pointer() or (None, 0)
    current = registry.manifest(pointer.version) if pointer else None
    verdict, reason = judge(candidate, current, margin)
    accepted = verdict == "publish" or (current is not None and current.version == version)
    decision = registry.decision(version)
    if decision is None or (accepted and decision.score_with != version):
        score_with = current.version if current and verdict == "reject" else version
        decision = Decision(score_with, reason, datetime.datetime.now(datetime.UTC))
        if not dry_run:
            registry.decide(version, decision)
    return {
        "version": version,
        "current": current.version if current else None,
        "verdict": verdict,
        "reason": reason,
        "score_with": decision.score_with,
        "generation": generation,
        "errors": {
            ours.version: round(error(ours, other or ours), 4)
            for ours, other in ((candidate, current), (current, candidate))
            if ours
        },
    }


def error(manifest: Manifest, other: Manifest) -> float:
    """A version's error relative to the seasonal naive, averaged over the levels that both have."""
    ours, naive = manifest.backtest.model, manifest.backtest.seasonal_naive
    return mean(ours[level].mase / naive[level].mase for level in ours if level in other.backtest.model)


def judge(
    candidate: Manifest, current: Manifest | None, margin: float
) -> tuple[Literal["publish", "keep", "reject"], str]:
    """What to do with a version when `current` is published, and why."""
    if current is None:
        return "publish", "nothing is published yet"
    if candidate.version == current.version:
        return "keep", f"{current.version} is published already"
    if candidate.last_date < current.last_date:
        return "keep", (
            f"its sales end on {candidate.last_date}, those of the published {current.version} on "
            f"{current.last_date}"
        )
    challenger = candidate.data_fingerprint == current.data_fingerprint
    factor = 1 - margin if challenger else 1 + margin
    ours, theirs = error(candidate, current), error(current, candidate)
    return "publish" if ours <= theirs * factor else "reject", (
        f"its error is {ours:.4f} of the seasonal naive's, that of the published {current.version} "
        f"{theirs:.4f}; on {'the same' if challenger else 'other'} sales at most {theirs * factor:.4f} "
        "is taken"
    )


main = command.entry_point(compare)

if __name__ == "__main__":
    sys.exit(main())

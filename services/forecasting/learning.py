"""Learning from groups of stores, each on its own: backtest windows and forecasts of every candidate.

What comes after takes all series together, so a group may be learned from in another process or on another
machine: the result has the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import numpy as np

from services.forecasting import artifact, backtest
from services.forecasting.backtest import Window
from services.forecasting.choice import COMBINATION
from services.forecasting.models import PLANNED, Candidates, planned
from services.forecasting.panel import Panel


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned from a panel."""

    windows: dict[str, list[Window]]  # of the backtest, by candidate; the last one is from the panel's end
    files: dict[str, bytes]  # fitted models, name to content

    @classmethod
    def merged(cls, groups: Sequence[Self]) -> Self:
        """All series again, in the order of the groups; files get the number of their group."""
        if len(groups) == 1:
            return groups[0]
        whole = cls({}, {})
        for name in groups[0].windows:
            whole.windows[name] = [
                Window(same[0].origin, np.concatenate([each.sales for each in same]))
                for same in zip(*(group.windows[name] for group in groups), strict=True)
            ]
        for number, group in enumerate(groups, start=1):
            whole.files.update({f"group_{number}_{name}": each for name, each in group.files.items()})
        return whole

    def encode(self) -> bytes:
        """For the way from another machine."""
        return artifact.encode(
            names=np.array(list(self.windows)),
            origins=np.array([window.origin for window in next(iter(self.windows.values()))]),
            windows=np.array([[window.sales for window in own] for own in self.windows.values()]),
            **{f"file {name}": np.frombuffer(content, np.uint8) for name, content in self.files.items()},
        )

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """The other end of `encode`."""
        arrays = artifact.decode(content)
        names, origins, sales = (arrays.pop(name) for name in ("names", "origins", "windows"))
        windows = [list(map(Window, origins.tolist(), own)) for own in sales]
        files = {name.removeprefix("file "): values.tobytes() for name, values in arrays.items()}
        return cls(dict(zip(names.tolist(), windows, strict=True)), files)


Learn = Callable[[Sequence[Panel], Candidates, Sequence[int]], list[Learned]]
"""Learns from groups, with these candidates and origins of the backtest: here, or elsewhere."""


def store_groups(sales: Panel, most: int | None) -> list[slice]:
    """Rows of each group: whole stores in alphabetical order, up to so many series.

    A store of more series is a group. What did not sell long enough before the first origin to learn from is
    no group: the next store joins it, or the last stores join the group before. UnusableSalesError says that
    the sales are too short to backtest.
    """
    if most is None:
        return [slice(0, len(sales.family))]
    known = backtest.origins(sales)[0] - backtest.MIN_TRAINING_DAYS
    teaches = np.any(sales.sales[:, : known + 1] > 0, axis=1)
    groups = [slice(0, 0)]
    for _, members in groupby(sales.store_nbr):
        last = groups[-1]
        end = last.stop + len(list(members))
        if end - last.start > most and teaches[last].any():
            groups.append(slice(last.stop, end))
        else:
            groups[-1] = slice(last.start, end)
    if len(groups) > 1 and not teaches[groups[-1]].any():
        end = groups.pop().stop
        groups[-1] = slice(groups[-1].start, end)
    return groups


def split(usual: Panel, most: int | None) -> tuple[list[Panel], list[int]]:
    """The groups of `store_groups`, and the origins of the backtest: what a `Learn` is told.

    `usual` is what `to_learn_from` gives of all sales; UnusableSalesError says that they are too short.
    """
    return [usual.part(rows) for rows in store_groups(usual, most)], backtest.origins(usual)


def learn(usual: Panel, candidates: Candidates, origins: Sequence[int]) -> Learned:
    """Backtest and fit the candidates, and the one that knows planned promotions where there are any.

    UnusableSalesError says that there is nothing to learn from.
    """
    tried = dict(candidates)
    if usual.planned and COMBINATION in candidates:
        tried[PLANNED] = planned
    learned = Learned({}, {})
    ends = [*origins, usual.days]
    for candidate, forecaster in tried.items():
        if candidate in learned.windows:  # as a part of another
            continue
        fitted = backtest.run(forecaster, usual, ends)
        learned.files.update(fitted[-1].files)
        for name in (candidate, *fitted[-1].parts):
            learned.windows[name] = [
                Window(end, each.parts.get(name, each.sales)) for end, each in zip(ends, fitted, strict=True)
            ]
    return learned


def learn_here(groups: Sequence[Panel], candidates: Candidates, origins: Sequence[int]) -> list[Learned]:
    """Learn from one group after the other."""
    return [learn(group, candidates, origins) for group in groups]

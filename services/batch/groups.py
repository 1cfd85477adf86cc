"""Groups of stores in the staging bucket: the sales of each, and beside them what was learned from those."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from services.batch import command, staging
from services.batch.errors import temporary_errors
from services.forecasting import artifact, learning
from services.forecasting.learning import Learned
from services.forecasting.panel import Panel

_LIST: Final = "groups.json"


class StagedGroups(msgspec.Struct, frozen=True):
    """What a job learns from: addresses of groups, a kind of model, the origins of the backtest."""

    staged: list[str]
    model: str
    origins: Sequence[int]


def stage(project: str, folder: str, groups: Sequence[Panel], model: str, origins: Sequence[int]) -> None:
    """Upload groups into a folder, then the list of them."""
    staged = [f"{folder}/{number}.npz" for number in range(1, len(groups) + 1)]
    for address, group in zip(staged, groups, strict=True):
        promotions = {} if group.onpromotion is None else {"onpromotion": group.onpromotion}
        content = artifact.encode(
            first_date=np.array(group.first_date, dtype="datetime64[D]"),
            store_nbr=np.array(group.store_nbr),
            family=np.array(group.family),
            sales=group.sales,
            **promotions,
        )
        staging.upload(project, address, content)
    staging.upload(project, f"{folder}/{_LIST}", msgspec.json.encode(StagedGroups(staged, model, origins)))


def staged_in(project: str, folder: str) -> StagedGroups:
    """The list of the groups in a folder. Raises BatchError if there is none."""
    return msgspec.json.decode(staging.read(project, f"{folder}/{_LIST}"), type=StagedGroups)


@temporary_errors()
def learn(address: str, project: str, model: str, origins: Sequence[int]) -> None:
    """Learn from the group at an address, and upload the result beside it; the same bytes when repeated."""
    arrays = artifact.decode(staging.read(project, address))
    group = Panel(
        first_date=arrays["first_date"].item(),
        store_nbr=tuple(arrays["store_nbr"].tolist()),
        family=tuple(arrays["family"].tolist()),
        sales=arrays["sales"],
        onpromotion=arrays.get("onpromotion"),
    )
    learned = learning.learn(group, command.candidates(model), origins)
    staging.upload(project, address.removesuffix(".npz") + "-learned.npz", learned.encode())


def learned_from(project: str, folder: str, count: int) -> list[Learned]:
    """What was learned from each of the groups in a folder. Raises BatchError if one was not learned from."""
    return [
        Learned.decode(staging.read(project, f"{folder}/{number}-learned.npz"))
        for number in range(1, count + 1)
    ]

"""Settings as environment variables: what a stack declares is what the service reads."""

import pytest

from services.contracts.settings import SettingsError, StreamingSettings, from_environment, to_environment

NEEDED = {
    "MODEL_BUCKET": "models",
    "SUBSCRIPTION": "projects/p/subscriptions/s",
    "REPLY_TOPIC": "projects/p/topics/replies",
    "DEAD_LETTER_TOPIC": "projects/p/topics/dead",
    "PREDICTIONS_TABLE": "p.predictions.predictions",
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"REPLY_TOPICS": "projects/p/topics/a"},
        {"REPLY_TOPICS": "projects/p/topics/a,projects/p/topics/b"},
        {"DELIVERY": "push", "PUSH_AUDIENCE": "https://host/push", "PUSH_ACCOUNT": "push@p"},
    ],
)
def test_what_is_declared_is_read_back(more: dict[str, str]) -> None:
    settings = from_environment(StreamingSettings, NEEDED | more)

    declared = to_environment(settings)

    assert more.items() <= declared.items()
    assert from_environment(StreamingSettings, declared) == settings


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"REPLY_TOPICS": "replies"}, "reply_topics"),
        ({"DELIVERY": "push", "PUSH_AUDIENCE": "a"}, "PUSH_ACCOUNT"),
        ({"DELIVERY": "post"}, "DELIVERY"),
    ],
)
def test_what_does_not_fit_is_named(more: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        from_environment(StreamingSettings, NEEDED | more)

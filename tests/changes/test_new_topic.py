"""A new topic with a subscription: its name, and two lines of the stack `messaging`."""

import httpx
import pytest

from tests.changes.conftest import Checkout

pytestmark = pytest.mark.slow

NAMES = "services/contracts/names.py"
STACK = "stacks/messaging.py"


@pytest.fixture(scope="module", autouse=True)
def changed(checkout: Checkout) -> None:
    """The change of docs/how-to.md."""
    checkout.edit(NAMES, "\n# Message attributes\n", 'STOCK_TOPIC: Final = "stock"\n\n# Message attributes\n')
    checkout.edit(
        STACK,
        "\n        # Without dead letters ",
        '        stock = Topic(self, "stock-topic", name=names.STOCK_TOPIC)\n'
        '        Subscription(self, "stock", name=names.STOCK_TOPIC, topic=stock, keep_days=keep)\n'
        "\n        # Without dead letters ",
    )


def test_a_published_message_reaches_the_subscription(checkout: Checkout) -> None:
    messaging = checkout.synthesize("dev")["messaging"]["resource"]
    assert "stock" in [each["name"] for each in messaging["google_pubsub_topic"].values()]
    checkout.apply("dev", "foundation", "data", "messaging")
    url = f"http://{checkout.emulators()['PUBSUB_EMULATOR_HOST']}/v1/projects/sales-forecast-dev"
    body = {"messages": [{"data": "Mw=="}]}
    httpx.post(f"{url}/topics/stock:publish", json=body, timeout=180).raise_for_status()
    pulled = httpx.post(f"{url}/subscriptions/stock:pull", json={"maxMessages": 1}, timeout=180).json()
    assert [each["message"]["data"] for each in pulled["receivedMessages"]] == ["Mw=="]


def test_no_other_file_needs_a_change(checkout: Checkout) -> None:
    tests = ("tests/stacks/test_messaging.py", "tests/stacks/test_every_resource.py")
    checkout.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests)

"""The page and the documentation in a browser. Screenshots are written to build/test."""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import REPOSITORY, Models, Service

SCREENSHOTS = REPOSITORY / "build" / "test"
Scheme = Literal["light", "dark"]
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not on PATH: scripts/debian_packages.sh installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=FLAGS, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        browser.close()


def opened(
    browser: Browser, predicting: Service, path: str = "/", scheme: Scheme = "light", width: int = 1440
) -> Page:
    """Open a page and wait for its content; an error, or a request to another host, fails the test."""
    page = browser.new_page(
        color_scheme=scheme, viewport={"width": width, "height": 900}, locale="en-GB", reduced_motion="reduce"
    )
    page.set_default_timeout(120_000)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((predicting.url, "data:")) else faults.append(request.url)
        ),
    )
    page.goto(predicting.url + path)
    page.wait_for_selector("#api .opblock" if path.startswith("/docs") else "#drawing path.future")
    assert faults == []
    return page


def serious_faults(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page, each with the elements at fault."""
    page.evaluate((REPOSITORY / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {[node['html'] for node in each['nodes']]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chart_of_history_forecast_and_interval(
    browser: Browser, predicting: Service, scheme: Scheme
) -> None:
    page = opened(browser, predicting, "/?store_nbr=1&family=BREAD&range=14&back=56", scheme)

    for part in ("past", "future", "band"):
        assert page.locator(f"#drawing path.{part}").count() == 1
    assert page.locator("#title").text_content() == "BREAD, store 1"
    assert "80 %" in (page.locator("#interval-name").text_content() or "")
    assert "v1" in page.locator("#model-facts").inner_text()
    assert "0.900" in (page.locator("#scores").text_content() or "")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_starts_with_the_sum_of_all_stores_and_its_interval(
    browser: Browser, predicting: Service, shared_models: Models, scheme: Scheme, width: int
) -> None:
    predicting.get("/predict?range=1")  # The page reads the metrics before it asks for a forecast.
    page = opened(browser, predicting, "/#metrics", scheme, width)

    assert page.locator("#title").text_content() == "all families, all stores"
    assert page.locator("#drawing path.band").count() == 1
    page.get_by_text("Of one process").wait_for()
    assert "MiB" in page.locator("#metrics-facts").inner_text()
    counts = page.locator("#routes tr").filter(has_text="/predict").inner_text().split("\t")[1:]
    assert float(counts[0].replace(",", "")) >= 1
    assert float(counts[-1]) > 0
    assert re.search(r"Expected, 28 days\s+[\d,.]+ units", page.locator("main").inner_text())
    page.locator("#numbers summary").click()
    assert "Units a day" in page.locator("#numbers").inner_text()
    last = page.locator("#rows tr").last.inner_text().replace(",", "").split("\t")
    forecast = shared_models.forecast("v1")
    lower, upper = forecast.sums["total"]
    expected = [forecast.sales[:, 27].sum(), lower[0, 27], upper[0, 27]]
    assert [float(cell) for cell in last[2:]] == pytest.approx(expected, abs=0.0501)
    assert serious_faults(page) == []
    assert fits(page)
    page.screenshot(path=SCREENSHOTS / f"page-{width}-{scheme}.png", full_page=True)
    page.close()


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("/?store_nbr=nope", "store_nbr “nope” is no store"),
        ("/?store_nbr=1&family=TEA+%26+CO", "family “TEA & CO” is no family of what is chosen"),
        ("/?range=99", "range “99” is no number of days from 1 to 28"),
        ("/?back=5", "back “5” is no number of days that is offered"),
        ("/?store=1", "“store” is no parameter of this page"),
        ("/?store_nbr=1&store_nbr=2", "“store_nbr” is given more than once"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(
    browser: Browser, predicting: Service, address: str, fault: str
) -> None:
    page = browser.new_page()
    page.goto(predicting.url + address)

    status = page.get_by_role("status")
    status.get_by_role("link", name="all stores").wait_for()
    assert fault in status.inner_text()
    assert page.locator("#answer").is_hidden()
    assert serious_faults(page) == []
    page.get_by_role("combobox", name="Store").select_option("2")
    page.get_by_text("all families, store 2", exact=True).wait_for()
    assert page.locator("#answer").is_visible()
    page.close()


def test_keyboard_alone_reaches_everything(browser: Browser, predicting: Service) -> None:
    page = opened(browser, predicting)

    reached: list[str] = []
    while reached.count("Metrics") < 2 and len(reached) < 30:
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
    expected = [
        "Skip to the chart",
        "API",
        "Model",
        "Metrics",
        "store",
        "family",
        "range",
        "back",
        "download",
    ]
    expected += ["chart", "The numbers as a table", "Metrics"]
    assert [each for each in reached if each in expected] == expected
    page.keyboard.press("Enter")
    page.get_by_text("Of one process").wait_for()
    page.close()


def test_metrics_that_are_closed_are_said_to_be(browser: Browser, predicting: Service) -> None:
    page = browser.new_page()
    page.route("**/metrics", lambda route: route.fulfill(status=403))
    page.goto(predicting.url + "/#metrics")

    page.get_by_text("closed at this address (status 403)").wait_for()
    page.close()


def test_the_table_has_the_numbers_of_the_model(
    browser: Browser, predicting: Service, shared_models: Models
) -> None:
    page = opened(browser, predicting, "/?store_nbr=2&family=TEA+%26+CO&range=3&back=28")

    page.locator("#numbers summary").click()
    rows = [
        re.split(r"\t", text)
        for text in page.locator("#rows").inner_text().splitlines()
        if text.startswith("2024-0")
    ]
    expected = shared_models.forecast("v1").rows(3, [3])
    assert len(rows) == 28 + 3
    for row, of_model in zip(rows[-3:], expected, strict=True):
        assert row[0] == of_model.date.isoformat()
        shown = [float(cell.replace(",", "")) for cell in row[2:]]
        assert shown == pytest.approx([of_model.sales, of_model.lower, of_model.upper], abs=0.0501)
    page.close()


def test_selections_change_the_chart_and_the_url(browser: Browser, predicting: Service) -> None:
    page = opened(browser, predicting, "/?store_nbr=1&family=BREAD&range=14&back=56")

    page.get_by_role("combobox", name="Store").select_option("2")
    # The families of store 2 are offered, and the selected one stays selected.
    assert page.get_by_role("combobox", name="Family").locator("option").all_inner_texts() == [
        "All families",
        "BREAD",
        "TEA & CO",
    ]
    page.get_by_text("BREAD, store 2", exact=True).wait_for()
    page.get_by_role("combobox", name="Family").select_option("All families")
    page.get_by_text("all families, store 2", exact=True).wait_for()
    assert page.get_by_text("2 series", exact=True).is_visible()
    page.get_by_label("Days ahead").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("15 days for all families").wait_for()
    assert page.url.endswith("/?store_nbr=2&range=15&back=56")
    page.close()


def test_the_download_has_the_selected_forecast(browser: Browser, predicting: Service) -> None:
    page = opened(browser, predicting, "/?store_nbr=1&family=MILK&range=5")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "prediction.csv"
    with download.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["store_nbr"], row["family"]) for row in rows} == {("1", "MILK")}
    assert len(rows) == 5
    page.close()


def test_keyboard_and_pointer_show_single_days(browser: Browser, predicting: Service) -> None:
    page = opened(browser, predicting, "/?store_nbr=1&family=BREAD&range=14&back=56")
    status = page.get_by_role("status")

    page.locator("#chart").focus()
    for key, date in (
        ("ArrowRight", "27 Feb 2024"),
        ("ArrowLeft", "26 Feb 2024"),
        ("End", "11 Mar 2024"),
        ("Home", "2 Jan 2024"),
    ):
        page.keyboard.press(key)
        assert date in (status.text_content() or "")
        assert date in (page.locator("#tip").text_content() or "")
    assert re.search(r"\d units sold", status.text_content() or "")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("#drawing").hover(position={"x": 1000, "y": 100})
    assert "expected" in (page.locator("#tip").text_content() or "")
    page.close()


def test_a_tap_shows_a_single_day_until_the_next_one(browser: Browser, predicting: Service) -> None:
    phone = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 900})
    page = phone.new_page()
    page.goto(predicting.url + "/?store_nbr=1&family=BREAD&range=14&back=56")
    page.wait_for_selector("#drawing path.future")
    tip = page.locator("#tip")

    page.locator("#drawing").tap(position={"x": 280, "y": 100})
    assert "expected" in (tip.text_content() or "")
    page.locator("#drawing").tap(position={"x": 80, "y": 100})
    assert "sold" in (tip.text_content() or "")
    assert tip.is_visible()
    page.get_by_role("heading", name="Model").tap()
    assert tip.is_hidden()
    phone.close()


@pytest.mark.parametrize(
    ("status", "content"), [(429, "<!doctype>"), (502, "<html>"), (503, "no healthy upstream"), (200, "")]
)
def test_an_answer_of_a_load_balancer_is_told_as_its_status(
    browser: Browser, predicting: Service, status: int, content: str
) -> None:
    page = opened(browser, predicting)
    page.route("**/predict?*", lambda route: route.fulfill(status=status, body=content))
    page.get_by_role("combobox", name="Store").select_option("1")

    page.get_by_text(f"No forecast: the answer has status {status}. Try again in a minute").wait_for()
    page.close()


def test_a_service_out_of_reach_is_told(browser: Browser, predicting: Service) -> None:
    page = opened(browser, predicting)
    page.context.set_offline(True)
    page.get_by_role("combobox", name="Store").select_option("1")
    page.get_by_text("No forecast: the service cannot be reached").wait_for()
    page.locator("#metrics summary").click()
    page.get_by_text("No metrics: the service cannot be reached").wait_for()
    page.close()


def test_every_control_has_a_name_for_screen_readers(browser: Browser, predicting: Service) -> None:
    page = opened(browser, predicting)

    tree = page.locator("body").aria_snapshot()
    for named in (
        'combobox "Store"',
        'combobox "Family of products"',
        'slider "Days ahead',
        'combobox "Days back"',
        'link "Download CSV"',
        "status",
        'application "',
        'table "Errors in the backtest',
        'heading "Model"',
    ):
        assert named in tree
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, a, table')]"
        ".filter(e => !(e.labels?.length || e.textContent.trim())).length"
    )
    assert unnamed == 0
    page.close()


def test_the_page_says_that_no_model_is_loaded(browser: Browser, own: Service) -> None:
    own.start()
    page = browser.new_page()
    page.goto(own.url)

    page.get_by_text("No forecast: no model is loaded").wait_for()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_documentation_tries_the_service_out(
    browser: Browser, predicting: Service, scheme: Scheme, width: int
) -> None:
    page = opened(browser, predicting, "/docs", scheme, width)
    assert serious_faults(page) == []

    document = predicting.get("/openapi.json").json()
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            shown = page.locator(f".opblock-{verb}").filter(
                has=page.locator(f".opblock-summary-path[data-path='{path}']")
            )
            assert operation["summary"] in shown.inner_text()
    # By keyboard alone.
    page.locator("button.opblock-summary-control").first.focus()
    page.keyboard.press("Enter")
    page.get_by_placeholder("range").focus()
    page.keyboard.type("2")
    page.get_by_role("button", name="Execute").focus()
    page.keyboard.press("Enter")
    answer = page.locator(".live-responses-table .response-col_description pre").first
    answer.wait_for()
    assert json.loads(answer.inner_text())["success"] is True
    assert serious_faults(page) == []
    assert fits(page)
    page.screenshot(path=SCREENSHOTS / f"docs-{width}-{scheme}.png")
    page.close()


@pytest.mark.parametrize("path", ["/", "/docs", "/page.js", "/page.css", "/swagger-ui-bundle.js"])
def test_pages_allow_no_content_of_other_hosts_and_are_cached(predicting: Service, path: str) -> None:
    plain = predicting.get(path, headers={"accept-encoding": "identity"})
    compressed = predicting.get(path, headers={"accept-encoding": "gzip"})

    assert plain.status_code == 200
    assert "default-src 'none'" in plain.headers["content-security-policy"]
    assert plain.headers["x-content-type-options"] == "nosniff"
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == plain.content
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"])
    for answer, accepts in ((plain, "identity"), (compressed, "gzip")):
        headers = {"if-none-match": answer.headers["etag"], "accept-encoding": accepts}
        assert predicting.get(path, headers=headers).status_code == 304
    assert httpx.head(predicting.url + path).status_code == 200

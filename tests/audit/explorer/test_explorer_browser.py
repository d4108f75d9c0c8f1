"""The explorer as `fedchest audit serve` serves it, in headless Chromium, with JavaScript off."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.explorer import COMMAND
from benchmarks.synthetic import SyntheticLedger
from fedchest.audit.index import EventIndex

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGES = (
    "/",
    "/rounds",
    "/rounds/1",
    "/institutions",
    "/institutions/3",
    "/budget",
    "/rewards",
    "/lineage",
    "/events",
    "/verify",
    "/nothing",
)
LEAST_CONTRAST = 4.5

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
    ),
]


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """The address at which the command serves a run or index."""
    with subprocess.Popen([*COMMAND, str(path)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+(?=/ )", server.stdout.readline())
        assert found is not None
        yield found[0]
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def served_run(finished_run) -> Iterator[str]:
    with serving(finished_run.root) as address:
        yield address


@pytest.fixture(scope="module")
def served_long_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("ten-thousand") / "trail.sqlite"
    with EventIndex(path, SyntheticLedger(10_000)) as index:
        index.sync()
    with serving(path) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, **options: object) -> Iterator[Page]:
    """A page without JavaScript, unless `options` say otherwise."""
    context = chromium.new_context(**{"java_script_enabled": False, **options})
    yield context.new_page()
    context.close()


def test_no_request_leaves_for_another_host(served_run, chromium):
    requested, said = [], []
    with opened(chromium, java_script_enabled=True) as page:
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        network.on("Network.requestWillBeSent", lambda event: requested.append(event["request"]["url"]))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for path in PAGES:
            page.goto(served_run + path)
    assert len(requested) > 2 * len(PAGES)
    assert {url.split("/")[2] for url in requested} == {served_run.split("/")[2]}
    assert [text for text in said if "404" not in text] == []  # no policy was violated


def test_the_real_server_keeps_its_name_and_cookies_to_itself(served_run):
    headers = requests.get(served_run, timeout=10).headers
    assert "server" not in headers
    assert "set-cookie" not in headers
    assert headers["content-security-policy"].startswith("default-src 'none'")


def focused(page: Page) -> str:
    """The text of what has the focus; it must be visible that it has."""
    element = page.locator(":focus")
    assert element.evaluate("e => getComputedStyle(e).outlineStyle") not in ("none", "hidden")
    box = element.bounding_box()
    assert box is not None
    assert box["x"] >= 0  # the skip link comes into view
    return element.inner_text()


def tab_to(page: Page, text: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if focused(page) == text:
            return
    raise AssertionError(f"{text} is not reached by Tab")


def test_by_keyboard_alone_to_a_verified_run(served_run, chromium):
    with opened(chromium) as page:
        page.goto(served_run)
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to content"
        tab_to(page, "Verify", most=10)
        page.keyboard.press("Enter")
        page.wait_for_url("**/verify")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.locator("button:focus").count():
                break
        page.keyboard.press("Enter")
        page.get_by_text("The audit passed").wait_for(timeout=120_000)  # the page reloads itself
        headings = page.locator("section h2").all_inner_texts()
    assert headings == ["1. Chain passed", "2. Artifacts passed", "3. Computation passed"]


def test_by_keyboard_alone_to_a_round_and_its_refused_institution(served_run, chromium):
    with opened(chromium) as page:
        page.goto(served_run)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # skips to the content
        tab_to(page, "1")
        page.keyboard.press("Enter")
        page.wait_for_url("**/rounds/1")
        assert page.locator("h1").inner_text() == "Round 1 finalized"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        tab_to(page, "3")
        page.keyboard.press("Enter")
        page.wait_for_url("**/institutions/3")
        assert page.get_by_text("HASH_MISMATCH").first.is_visible()


CONTRASTS = """() => {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const found = rgb(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = [];
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.checkVisibility() || e.closest("svg")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    seen.push([(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)]);
  }
  return seen;
}"""


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark_are_both_readable(served_run, chromium, scheme, dark):
    with opened(chromium, java_script_enabled=True, color_scheme=scheme) as page:
        for path in PAGES:
            page.goto(served_run + path)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground))) < 300) is dark
            measured = page.evaluate(CONTRASTS)
            assert len(measured) > 10
            assert [found for found in measured if found[0] < LEAST_CONTRAST] == []


def test_a_narrow_screen_scrolls_tables_and_not_the_page(served_run, chromium):
    with opened(chromium, java_script_enabled=True, viewport={"width": 360, "height": 640}) as page:
        for path in PAGES:
            page.goto(served_run + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_ten_thousand_rounds_are_walked_and_jumped_in(served_long_study, chromium):
    with opened(chromium) as page:
        page.goto(served_long_study + "/rounds")
        rows = page.locator("table.timeline tbody th")
        assert rows.first.inner_text() == "10000"
        page.get_by_role("link", name="Older").first.click()
        assert rows.first.inner_text() == "9950"
        page.get_by_label("Rounds from").fill("4321")
        page.keyboard.press("Enter")
        page.wait_for_url("**/rounds?from=4321")
        assert rows.first.inner_text() == "4321"
        rows.first.get_by_role("link").click()
        assert page.locator("h1").inner_text() == "Round 4321 finalized"
        page.goto(served_long_study + "/events")
        page.get_by_role("link", name="Older").click()
        assert page.locator("table.events tbody tr").count() == 50

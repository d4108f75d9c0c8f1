"""The explorer's pages: what they show of the chain, that nothing is left out, and what goes wrong."""

import logging
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from audit_support import NEVER_IN_AN_OPEN_STUDY
from starlette.testclient import TestClient
from studies import NEW_MODEL, StudyOnChain

from benchmarks.synthetic import MEMBERS, REGISTERED, SyntheticLedger
from fedchest.audit.index import EventIndex
from fedchest.audit.schema import TABLES
from fedchest.audit.trail import plain
from fedchest.ledger.chain import LocalChain
from fedchest.reporting.explorer.questions import PAGE

SECTIONS = (
    "/",
    "/rounds",
    "/institutions",
    "/budget",
    "/rewards",
    "/lineage",
    "/events",
    "/verify",
)
CASES = ("/rounds/1", "/institutions/3", "/events?institution=0&kind=Attested", "/rounds?from=2")


class _Page(HTMLParser):
    """The addresses that a page refers to, and its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    @property
    def addresses(self) -> set[str]:
        named = ("href", "src", "action", "srcset", "data", "formaction")
        return {str(given[name]) for _, given in self.elements for name in named if name in given}

    def next(self) -> str | None:
        return next((given["href"] for _, given in self.elements if given.get("rel") == "next"), None)


def text_of(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


def walk(client: TestClient, path: str) -> Iterator[str]:
    """A page and all that its `next` links lead to."""
    following: str | None = path
    while following is not None:
        answer = client.get(following)
        assert answer.status_code == 200
        yield answer.text
        following = _Page(answer.text).next()


def event_positions(client: TestClient, path: str) -> list[str]:
    """Kind, block and transaction of each event shown."""
    rows = re.compile(r'<th scope="row">(\w+)</th>.*?<td>(\d+)<br>.*?title="(0x[0-9a-f]+)"', re.DOTALL)
    return [" ".join(row) for html in walk(client, path) for row in rows.findall(html)]


# What is shown.


@pytest.mark.e2e
@pytest.mark.parametrize("path", [*SECTIONS, *CASES])
def test_a_page_refers_to_nothing_but_the_explorer_and_holds_no_script(played_index, browse, path):
    client = browse(played_index)
    answer = client.get(path)
    assert answer.status_code == 200
    shown = _Page(answer.text)
    assert all(address.startswith(("/", "#")) and not address.startswith("//") for address in shown.addresses)
    assert not {"script", "iframe", "object", "embed", "style"} & {tag for tag, _ in shown.elements}
    assert not any(name == "style" or name.startswith("on") for _, given in shown.elements for name in given)


@pytest.mark.e2e
def test_every_link_leads_somewhere(played_index, browse):
    client, seen, waiting = browse(played_index), set(), {"/"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            waiting |= {address for address in _Page(answer.text).addresses if address[0] == "/"} - seen
    assert {"/rounds/5", "/institutions/0", "/static/explorer.css"} <= seen


@pytest.mark.e2e
def test_a_round_shows_all_that_happened_in_it(played: StudyOnChain, played_index, browse):
    client = browse(played_index)
    events = played.coordinator.events()
    for number in range(1, played.coordinator.current_round() + 1):
        html = client.get(f"/rounds/{number}").text
        shown = text_of(html)
        own = [event for event in events if event.round == number]
        assert len(own) > 1
        for event in own:
            assert event.name in shown
            assert event.transaction in html
            for value in plain(event.values).values():
                if isinstance(value, str):
                    assert value in html


@pytest.mark.e2e
def test_a_rejected_round_names_refusals_votes_and_checks(played_index, browse):
    shown = text_of(browse(played_index).get("/rounds/3").text)
    assert "Round 3 void rejected" in shown
    assert "NORM_EXCEEDED 1: institution 2" in shown
    assert "200 1: institution 3" in shown  # a reason that this version has no name for
    assert "2 disagreed" in shown
    assert "disagrees held held held held held held held 0x78787878… other than proposed" in shown


@pytest.mark.e2e
def test_an_institution_shows_its_budget_its_credits_and_all_its_events(
    played: StudyOnChain, played_index, browse
):
    client = browse(played_index)
    for institution in played.coordinator.institutions():
        html = client.get(f"/institutions/{institution.id}").text
        shown = text_of(html)
        assert (
            f"{institution.epsilon_spent / 1e6:.3f} of epsilon {institution.epsilon_budget / 1e6:.3f}"
            in shown
        )
        assert f"{institution.credits} credits" in shown
        for event in played.coordinator.events():
            if event.institution == institution.id:
                assert event.name in shown
                assert event.transaction in html


@pytest.mark.e2e
def test_the_events_page_leaves_no_kind_and_no_event_out(played: StudyOnChain, played_index, browse):
    events = played.coordinator.events()
    assert {TABLES[event.name].name for event in events} == {
        table.name for table in TABLES.values()
    } - NEVER_IN_AN_OPEN_STUDY
    shown = event_positions(browse(played_index), "/events")
    assert shown == [f"{event.name} {event.block} {event.transaction}" for event in reversed(events)]


@pytest.mark.e2e
def test_lineage_shows_what_came_from_what(played_index, browse):
    html = browse(played_index).get("/lineage").text
    rows = [text_of(row) for row in html.split("<tr>")]
    (fifth,) = [row for row in rows if " 5 finalized" in row]
    assert "0x" + NEW_MODEL.hex() in fifth
    assert "round 1" in fifth  # 2 was abandoned, 3 rejected, 4 expired
    assert sum("initial model" in row and "provenance" in row for row in rows) == 1


@pytest.mark.e2e
def test_an_update_is_found_by_any_of_its_hashes(played: StudyOnChain, played_index, browse):
    event = next(event for event in played.coordinator.events() if event.name == "UpdateSubmitted")
    client = browse(played_index)
    for name in ("commitment", "sealed_hash"):
        assert event.transaction in client.get(f"/updates/0x{event.values[name].hex()}").text


# A page at a time.


def test_pages_follow_each_other_without_gap_or_repetition(long_index, browse):
    client = browse(long_index)
    links = re.compile(r'<th scope="row"><a href="/(?:rounds|institutions)/(\d+)">')

    def numbers(path: str) -> list[int]:
        return [int(number) for html in walk(client, path) for number in links.findall(html)]

    assert numbers("/rounds") == list(range(120, 0, -1))
    assert numbers("/institutions") == numbers("/budget") == numbers("/rewards") == list(range(REGISTERED))
    models = re.compile(r'id="round-(\d+)"')
    assert [int(n) for html in walk(client, "/lineage") for n in models.findall(html)] == list(
        range(120, 0, -1)
    )


def test_a_long_history_is_walked_to_its_first_round(browse, tmp_path: Path):
    rounds = 520
    with EventIndex(tmp_path / "trail.sqlite", SyntheticLedger(rounds)) as index:
        index.sync()
    took_part = [
        number
        for number in range(rounds, 0, -1)
        if 20 in {(number + 7 * place) % REGISTERED for place in range(MEMBERS)}
    ]
    assert took_part[0] == rounds
    assert len(took_part) > PAGE
    links = re.compile(r'<th scope="row"><a href="/rounds/(\d+)">')
    pages = walk(browse(tmp_path / "trail.sqlite"), "/institutions/20")
    assert [int(number) for html in pages for number in links.findall(html)] == took_part


def test_every_event_of_a_long_study_is_on_one_page(long_index, browse):
    client, ledger = browse(long_index), SyntheticLedger(120)
    events = ledger.events(0, ledger.height)
    shown = event_positions(client, "/events")
    assert shown == [f"{event.name} {event.block} {event.transaction}" for event in reversed(events)]
    of_7 = [event for event in reversed(events) if event.institution == 7 and event.name == "Credited"]
    assert event_positions(client, "/events?institution=7&kind=Credited") == [
        f"Credited {event.block} {event.transaction}" for event in of_7
    ]


@pytest.mark.parametrize(("asked", "first"), [("60", 60), ("999999", 120), ("0", 1), ("", 120)])
def test_the_timeline_begins_where_it_is_asked_to(long_index, browse, asked, first):
    html = browse(long_index).get(f"/rounds?from={asked}").text
    assert re.search(r'<th scope="row"><a href="/rounds/(\d+)">', html)[1] == str(first)


# What goes wrong.


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/rounds/0",
        "/rounds/121",
        "/rounds/first",
        "/rounds/" + "9" * 5000,
        "/rounds/-1",
        "/rounds?from=<script>alert(1)</script>",
        "/institutions/100",
        "/institutions/1%00",
        "/events?kind=<script>alert(1)</script>",
        "/events?before=' OR 1",
        "/updates/zz",
        "/updates/<script>alert(1)<%2Fscript>",
        "/updates/0x" + "0" * 64,
        "/static/../app.py",
        "/static/nothing.css",
    ],
)
def test_what_does_not_exist_is_a_page_that_says_so(long_index, browse, path):
    answer = browse(long_index).get(path)
    assert answer.status_code == 404
    assert "Not found" in answer.text
    assert "<script" not in answer.text


def test_pages_are_only_read(long_index, browse):
    client = browse(long_index)
    for path in ("/", "/rounds", "/rounds/1", "/events", "/static/explorer.css"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = client.request(method, path)
            assert answer.status_code == 405, (method, path)


@pytest.mark.parametrize("damage", ["absent", "empty", "nonsense", "no table"])
def test_an_unreadable_index_is_said_without_naming_its_path(
    long_index: Path, browse, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
):
    index = tmp_path / "trail.sqlite"
    content = long_index.read_bytes()
    client = browse(index)
    if damage != "absent":
        half = content[: len(content) // 3]
        index.write_bytes({"empty": b"", "nonsense": b"nonsense" * 999, "no table": half}[damage])
    with caplog.at_level(logging.ERROR):
        answer = client.get("/rounds")
    assert answer.status_code == 503
    assert "can't be read at the moment" in text_of(answer.text)
    assert str(tmp_path) not in answer.text
    assert str(index) in caplog.text
    index.write_bytes(content)
    assert client.get("/rounds").status_code == 200


@pytest.mark.e2e
def test_a_study_before_its_first_round(chain: LocalChain, tmp_path: Path, browse):
    study = StudyOnChain(chain.rpc_url, tmp_path)
    with EventIndex(tmp_path / "trail.sqlite", study.coordinator) as index:
        index.sync()
    client = browse(tmp_path / "trail.sqlite")
    assert "No round has been opened yet" in client.get("/").text
    for path in SECTIONS:
        assert client.get(path).status_code == 200


def test_an_index_without_a_single_block(browse, tmp_path: Path):
    EventIndex(tmp_path / "trail.sqlite", SyntheticLedger(1)).__exit__()
    client = browse(tmp_path / "trail.sqlite")
    for path in SECTIONS:
        assert client.get(path).status_code == 200


def test_an_index_without_a_run_can_not_be_verified(long_index, browse):
    client = browse(long_index)
    shown = text_of(client.get("/verify").text)
    assert "Not checked, because this explorer was opened on an index file" in shown
    assert "passed" not in shown
    assert "<button" not in client.get("/verify").text
    assert client.post("/verify", follow_redirects=True).status_code == 200

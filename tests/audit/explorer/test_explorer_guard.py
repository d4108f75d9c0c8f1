"""What other sites' pages may not do to the explorer, and what a browser is told not to."""

from pathlib import Path

import pytest
from explorer_support import ADDRESS
from starlette.testclient import TestClient

from fedchest.reporting.explorer.app import explorer
from fedchest.reporting.explorer.concealing import concealing, run_names


@pytest.mark.parametrize("path", ["/", "/rounds/1", "/nothing", "/static/explorer.css", "/verify"])
def test_headers_let_a_browser_load_nothing_from_elsewhere_and_run_nothing(long_index, browse, path):
    headers = browse(long_index).get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "script-src" not in policy
    assert "unsafe" not in headers["content-security-policy"]
    assert {policy[name] for name in ("style-src", "img-src", "form-action")} == {"'self'"}
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "set-cookie" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8765",
        "127.0.0.1",
        "localhost:8765",
        "LOCALHOST",
        "[::1]:8765",
        "192.0.2.7:80",
        "chest.example",
    ],
)
def test_the_machines_own_names_are_served(long_index, host):
    client = TestClient(explorer(long_index, None, concealing({}), "chest.example"), base_url=ADDRESS)
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8765",
        "evil.example@127.0.0.1:8765",
        "127.0.0.1:8765/evil",
        "127.0.0.1:port",
        "[::1",
        "",
    ],
)
def test_a_foreign_host_name_is_refused(long_index, browse, host):
    client = browse(long_index)
    for path in ("/", "/static/explorer.css"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 403
        assert "Host header" in answer.text
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8765"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ADDRESS},
        {"Sec-Fetch-Site": "cross-site", "Origin": ADDRESS},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_another_sites_form_is_refused(long_index, browse, headers):
    answer = browse(long_index).post("/verify", headers=headers)
    assert answer.status_code == 403
    assert "Another site sent this request" in answer.text


@pytest.mark.parametrize(
    "headers", [{"Origin": ADDRESS}, {"Sec-Fetch-Site": "same-origin", "Origin": ADDRESS}, {}]
)
def test_the_pages_own_form_and_a_command_line_are_heard(long_index, browse, headers):
    assert browse(long_index).post("/verify", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/data/runs/a/artifacts/ab12 is missing", "RUN/artifacts/ab12 is missing"),
        ("the key in /srv/keys/my.key can't be read", "the key in the key file can't be read"),
        ("/tmp/tmpx/node.log says why", "…/node.log says why"),
        ("'/opt/anvil' was not found", "'…/anvil' was not found"),
        ("the node at http://user:secret@host:8545/x", "the node at the address of --rpc"),
        ("http://other:8545/path 3/4 and/or round 1/2", "http://other:8545/path 3/4 and/or round 1/2"),
        ("artifacts/ab12 hashes to 0x1/2", "artifacts/ab12 hashes to 0x1/2"),
    ],
)
def test_no_folder_of_the_machine_is_shown(text, shown):
    names = run_names(Path("/srv/data/runs/a"), Path("/srv/keys/my.key"), "http://user:secret@host:8545/x")
    assert concealing(names)(text) == shown


def test_a_folders_name_inside_another_word_stays():
    names = run_names(Path("run"), None, None)
    shown = concealing(names)("the node runs what run/artifacts/ab12 holds")
    assert shown == "the node runs what RUN/artifacts/ab12 holds"

"""The server gives the files of one folder to this machine, and nothing to anybody else."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest

from ablate.errors import MachineError
from ablate.look.serve import ADDRESS, make_server


@pytest.fixture
def folder(tmp_path):
    study = tmp_path / "results" / "seen"
    (study / "look" / "msa").mkdir(parents=True)
    (study / "look.html").write_text("<!doctype html>the page")
    (study / "look" / "msa" / "a.svg").write_text("<svg/>")
    (study / "plan.py").write_text("no kind of ours")
    (study / ".hidden.json").write_text("{}")
    (tmp_path / "results" / "secret.json").write_text("{}")
    (study / "link.json").symlink_to(tmp_path / "results" / "secret.json")
    return study


@pytest.fixture
def server(folder):
    with make_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def ask(server):
    """(path, host, method) -> status, headers, body."""

    def ask(path, host=None, method="GET"):
        port = server.server_address[1]
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        for one in [f"{ADDRESS}:{port}"] if host is None else host:
            connection.putheader("Host", one.format(port=port))
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    return ask


def test_it_listens_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.socket.family is socket.AF_INET


def test_the_page_and_its_figures(ask):
    status, headers, body = ask("/")
    assert (status, body) == (200, b"<!doctype html>the page")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask("/look.html")[0] == ask("/look.html?x=1")[0] == 200
    status, headers, body = ask("/look/msa/a.svg")
    assert (status, headers["Content-Type"], body) == (200, "image/svg+xml", b"<svg/>")
    assert "sandbox" in headers["Content-Security-Policy"]  # an SVG opened alone could hold a script
    status, headers, body = ask("/", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "23", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/look",
        "/look/",
        "/look/msa/",
        "/absent.html",
        "/plan.py",
        "/.hidden.json",
        "/../secret.json",
        "/look/../../secret.json",
        "/%2e%2e/secret.json",
        "/look/%2e%2e/%2e%2e/secret.json",
        "/..%2fsecret.json",
        "//etc/passwd.json",
        "/link.json",
        "/look.html%00.json",
        "/..\\secret.json",
        "/" + "a" * 5000 + ".html",
    ],
)
def test_no_folder_is_listed_and_nothing_outside_is_given(ask, path):
    status, _, body = ask(path)
    assert (status, body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize(
    "host",
    [
        ["evil.example:{port}"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["localhost"],
        [],
        [""],
        ["127.0.0.1:{port}"] * 2,
    ],
)
def test_a_name_that_was_pointed_here_gets_nothing(ask, host):
    status, _, body = ask("/", host=host)
    assert (status, body) == (421, b"421 Misdirected Request\n")
    assert ask("/", host=["localhost:{port}"])[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_reads(ask, method):
    assert ask("/", method=method)[0] == 501


def test_a_port_that_is_taken_is_said_with_the_way_out(server, folder):
    port = server.server_address[1]
    with pytest.raises(MachineError) as raised:
        make_server(folder, port=port)
    assert str(raised.value) == f"port {port} is taken\n    name another with --port, or leave it out"

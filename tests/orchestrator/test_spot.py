"""The watcher for spot notices, against a metadata service on loopback; no other address is ever asked."""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import spot
from orchestrator.spot import SpotNotice, SpotWatcher, drain, watch
from tests.faults.metadata import AWS_NOTICE, AWS_TOKEN, GCP_NOTICE, PATIENCE_S, Metadata

NOTICE = (200, b'{"action": "terminate", "time": "2017-09-18T08:22:00Z"}')
TWO_MINUTES_BEFORE = 1505722800.0


@pytest.fixture
def service():
    """Return a metadata service that listens."""
    with closing(Metadata()) as service:
        yield service


@pytest.fixture
def watching():
    """Return a function that starts a watcher, and ends it after the test."""
    started = []

    def start(address, **more):
        seen = threading.Event()
        watcher = SpotWatcher(
            address, on_notice=lambda _: seen.set(), poll_s=0.01, clock=lambda: TWO_MINUTES_BEFORE, **more
        )
        watcher.seen = lambda: seen.wait(PATIENCE_S) and watcher.notice
        watcher.start()
        started.append(watcher)
        return watcher

    yield start
    for watcher in started:
        watcher.close()
        watcher._thread.join(PATIENCE_S)


def test_without_a_notice_it_asks_on(service, watching):
    """A service that has no notice, by 404, is asked again and again with one token, and nothing is logged."""
    watcher = watching(service.address)

    service.asked(4, AWS_NOTICE)

    assert watcher.notice is None
    assert service.requests.count(("PUT", AWS_TOKEN)) == 1
    assert set(service.requests) == {("PUT", AWS_TOKEN), ("GET", AWS_NOTICE)}


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_a_notice_is_seen_with_the_seconds_that_are_left(service, watching, action):
    """What the cloud will do, and the time until then by the clock that was passed in."""
    watcher = watching(service.address)
    service.asked(2, AWS_NOTICE)

    service.answers[AWS_NOTICE] = (200, json.dumps({"action": action, "time": "2017-09-18T08:22:00Z"}).encode())

    assert watcher.seen() == SpotNotice(action, 120.0)
    assert str(watcher.notice) == f"the cloud will {action} this spot machine in 120 s"


def test_a_notice_whose_time_is_over_has_no_seconds_left(service, watching):
    """The seconds that are left are never negative."""
    service.answers[AWS_NOTICE] = (200, b'{"action": "stop", "time": "2017-09-18T08:19:59Z"}')

    assert watching(service.address).seen() == SpotNotice("stop", 0.0)


def test_after_a_notice_nothing_more_is_asked(service, watching):
    """The notice stands and the thread ends."""
    service.answers[AWS_NOTICE] = NOTICE
    watcher = watching(service.address)
    watcher._thread.join(PATIENCE_S)

    assert not watcher._thread.is_alive()
    assert service.requests == [("PUT", AWS_TOKEN), ("GET", AWS_NOTICE)]


def test_a_token_that_grew_old_is_renewed_at_once(service, watching, caplog):
    """The next question is answered with a new token; that is no trouble to log."""
    watcher = watching(service.address)
    service.asked(2, AWS_NOTICE)

    service.expire()
    service.asked(service.count(AWS_NOTICE) + 2, AWS_NOTICE)
    service.answers[AWS_NOTICE] = NOTICE

    assert watcher.seen()
    assert service.requests.count(("PUT", AWS_TOKEN)) == 2
    assert "no word" not in caplog.text


def test_a_service_that_takes_no_token_is_told_of_and_asked_on(service, watching, caplog):
    """Where every token is refused, one line says so, and each look asks for one new token at most."""
    service.answers[AWS_TOKEN] = (200, b"worthless")
    watcher = watching(service.address)

    service.asked(4, AWS_NOTICE)

    assert watcher.notice is None
    assert [record.getMessage().partition("(told once)")[2] for record in caplog.records] == [
        ": ValueError('asked for a notice, it answered 401')"
    ]
    assert service.requests[:6] == [("PUT", AWS_TOKEN), ("GET", AWS_NOTICE)] * 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"<html>",
        b"[]",
        b"null",
        b"[" * 4096,
        b"{}",
        b'{"action": "rebalance", "time": "2017-09-18T08:22:00Z"}',
        b'{"action": ["terminate"], "time": "2017-09-18T08:22:00Z"}',
        b'{"action": "terminate"}',
        b'{"action": "terminate", "time": "soon"}',
        b'{"action": "terminate", "time": 1505722920}',
        b" " * 10**6 + NOTICE[1],
    ],
    ids=lambda content: ascii(content[:40]),
)
def test_garbage_is_no_notice_and_is_told_once(service, watching, caplog, content):
    """Whatever a service says that is no notice, one line is logged; a true notice is still seen after it."""
    service.answers[AWS_NOTICE] = (200, content)
    watcher = watching(service.address)
    service.asked(3, AWS_NOTICE)
    assert watcher.notice is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len(caplog.text) < 400

    service.answers[AWS_NOTICE] = NOTICE

    assert watcher.seen()
    assert caplog.text.count("no word on spot notices") == 1


@pytest.mark.parametrize("token", [b"", b"two\r\nlines", b"\xff"], ids=ascii)
def test_a_token_that_is_garbage_does_no_harm(service, watching, token):
    """No header is made of it that http would not allow, and a good token is taken later."""
    service.answers[AWS_TOKEN] = (200, token)
    service.answers[AWS_NOTICE] = NOTICE
    watcher = watching(service.address)
    service.asked(3, AWS_TOKEN)
    assert watcher.notice is None

    del service.answers[AWS_TOKEN]

    assert watcher.seen()


def test_a_service_that_refuses_connections_is_told_once_and_asked_on(caplog):
    """While nothing listens nothing happens; once it does, its notice is seen."""
    service = Metadata(listening=False)
    looks = threading.Semaphore(0)
    watcher = SpotWatcher(service.address, poll_s=0.01)
    look = watcher._look
    watcher._look = lambda: looks.release() or look()
    watcher.start()
    for _ in range(3):
        assert looks.acquire(timeout=PATIENCE_S)
    assert watcher.notice is None

    service.announce()
    service.listen()
    watcher._thread.join(PATIENCE_S)

    assert watcher.notice is not None
    assert caplog.text.count("told once") == 1
    assert "ConnectionRefusedError" in caplog.text
    service.close()


def test_a_service_that_never_answers_is_given_up_and_asked_again(service, watching, caplog):
    """A look at a black hole ends by its timeout; the notice is seen when the service is back."""
    service.hold()
    service.announce()
    watcher = watching(service.address, timeout_s=0.1)
    service.asked(3, AWS_TOKEN)
    assert watcher.notice is None
    assert caplog.text.count("TimeoutError") == 1

    service.release()

    assert watcher.seen()


def test_closing_waits_for_nothing(service, watching):
    """Even while a question is out close returns, and no further question follows it."""
    service.hold()
    watcher = watching(service.address, timeout_s=PATIENCE_S)
    service.asked(1)

    watcher.close()
    assert watcher._thread.is_alive()
    service.release()
    watcher._thread.join(PATIENCE_S)

    assert service.requests == [("PUT", AWS_TOKEN), ("GET", AWS_NOTICE)]  # one look has two


def test_no_redirect_is_followed(service, watching):
    """A service that sends elsewhere is one without a word: nobody else gets the token."""
    with closing(Metadata()) as other:
        service.headers["Location"] = other.address + AWS_NOTICE
        service.answers[AWS_NOTICE] = (302, b"")
        watcher = watching(service.address)
        service.asked(2, AWS_NOTICE)

        assert watcher.notice is None
        assert other.requests == []


def test_a_proxy_of_the_environment_is_not_used(service, watching, monkeypatch):
    """Metadata are asked of the machine's own address, whatever HTTP_PROXY says."""
    service.announce()
    with closing(Metadata()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)

        assert watching(service.address).seen()
        assert proxy.requests == []


def test_googles_notice_is_seen(service, watching):
    """With gcp+ before the address Google's words are understood; its machines stop 30 s after them."""
    watcher = watching(f"gcp+{service.address}")
    service.asked(2, GCP_NOTICE)
    assert watcher.notice is None

    service.announce()

    assert watcher.seen() == SpotNotice("terminate", 30.0)
    assert set(service.requests) == {("GET", GCP_NOTICE)}


def test_googles_garbage_is_no_notice(service, watching, caplog):
    """Anything but TRUE and FALSE is told once."""
    service.answers[GCP_NOTICE] = (200, b"TRUE?")
    watcher = watching(f"gcp+{service.address}")
    service.asked(3, GCP_NOTICE)

    assert watcher.notice is None
    assert caplog.text.count("it answered 200 'TRUE?'") == 1


def test_the_notice_stands_before_anybody_is_called(service):
    """A call from the watcher's thread already finds the notice."""
    service.answers[AWS_NOTICE] = NOTICE
    found = []
    watcher = SpotWatcher(service.address, lambda notice: found.append((notice, watcher.notice)), poll_s=0.01)
    watcher.start()
    watcher._thread.join(PATIENCE_S)

    assert found == [(watcher.notice, watcher.notice)]


def test_a_call_that_fails_takes_nothing_from_the_notice(service, caplog):
    """Where Ray cannot be told, that is logged, and the trial still sees the notice."""

    def fails(_):
        raise RuntimeError("no Ray here")

    service.announce()
    watcher = SpotWatcher(service.address, fails, poll_s=0.01)
    watcher.start()
    watcher._thread.join(PATIENCE_S)

    assert watcher.notice is not None
    assert "no Ray here" in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "https://169.254.169.254",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "azure+http://127.0.0.1",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1/latest",
        "http://127.0.0.1?a",
        "http://127.0.0.1\nHost: b",
        " http://127.0.0.1",
    ],
)
def test_an_address_of_another_kind_is_refused(address):
    """Only http and a bare host are taken; the error says in one line what was given and what is allowed."""
    with pytest.raises(ValueError, match=r"SWEEP_SPOT_METADATA is .*; expected http://HOST\[:PORT\] ") as caught:
        SpotWatcher(address)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://169.254.169.254", "http://[fd00:ec2::254]/", "http://localhost:8080"])
def test_the_addresses_of_clouds_are_taken(address):
    """IPv4, IPv6 and names, with a port or not; nothing is asked before the start."""
    assert SpotWatcher(address).notice is None


def test_a_password_in_an_address_is_not_repeated():
    """The error leaves out what stands before the host."""
    with pytest.raises(ValueError, match="SWEEP_SPOT_METADATA is 'host'") as caught:
        SpotWatcher("http://user:secret@host")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_watched_unless_the_environment_says_so(monkeypatch, value):
    """Without the variable there is no watcher and no thread."""
    monkeypatch.delenv(spot.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(spot.VARIABLE, value)
    before = threading.active_count()

    assert watch() is None
    assert threading.active_count() == before


def test_an_address_that_is_wrong_is_logged_and_disturbs_no_trial(monkeypatch, caplog):
    """One line, and the process goes on unwatched."""
    monkeypatch.setenv(spot.VARIABLE, "imds")

    assert watch() is None
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "no spot notice will be seen: SWEEP_SPOT_METADATA is 'imds'; expected http://"
    )


def test_what_the_environment_names_is_watched(monkeypatch, service):
    """The watcher is started, and calls back once there is a notice."""
    service.announce(left_s=60)
    monkeypatch.setenv(spot.VARIABLE, service.address)
    seen = threading.Event()

    watcher = watch(lambda _: seen.set())

    assert seen.wait(PATIENCE_S)
    assert 50 < watcher.notice.left_s <= 60


# What Ray is told.


class Node(bytes):
    """A node's id, as Ray's client has it."""


class Client:
    """Ray's client of a head and a worker; takes down what it is asked."""

    def __init__(self, answer=(True, "")):
        """Give `answer` to whoever drains."""
        self.answer, self.drained = answer, []

    def get_all_node_info(self, timeout):
        """Return the nodes."""
        assert timeout
        info = type("Info", (), {})
        head, worker = info(), info()
        head.is_head_node, worker.is_head_node = True, False
        return {Node(b"\x01"): head, Node(b"\x02"): worker}

    def drain_node(self, *asked, timeout):
        """Take it down."""
        assert timeout
        self.drained.append(asked)
        return self.answer


def test_ray_is_told_the_reason_and_the_time():
    """The reason is preemption, the message the notice, the deadline milliseconds since 1970."""
    client = Client()

    assert drain(client, "02", SpotNotice("stop", 12.5), clock=lambda: 1000.0)
    assert client.drained == [("02", 2, "the cloud will stop this spot machine in 12 s", 1012500)]


def test_the_head_is_never_drained():
    """Its raylet would leave once it is idle, and the cluster with it."""
    client = Client()

    assert not drain(client, "01", SpotNotice("terminate", 120.0))
    assert client.drained == []


def test_a_node_that_ray_does_not_know_is_an_error():
    """Ray's own client would take an id that is none and drain nothing, without a word."""
    with pytest.raises(KeyError):
        drain(Client(), "03", SpotNotice("terminate", 120.0))


def test_rays_refusal_is_an_error_with_its_reason():
    """What Ray answers is told."""
    with pytest.raises(RuntimeError, match="refuses to drain node 02: busy"):
        drain(Client((False, "busy")), "02", SpotNotice("terminate", 120.0))


RAY = '''
"""Drains one of two workers from within, by a notice on loopback; prints what then became of it."""
import json, time
import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
first = cluster.add_node(num_cpus=2)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
cluster.wait_for_nodes()

@ray.remote(num_cpus=1)
class Trial:
    def where(self):
        return ray.get_runtime_context().get_node_id()

    def preempted(self):
        from ray._raylet import GcsClient
        from orchestrator import spot
        told = []
        context = ray.get_runtime_context()
        client = GcsClient(address=context.gcs_address)
        watcher = spot.watch(lambda notice: told.append(spot.drain(client, context.get_node_id(), notice)))
        watcher._thread.join(30)
        return told, watcher.notice.left_s

    def leave(self):
        ray.actor.exit_actor()

def state():
    return next((n["Alive"], n["DeathReasonMessage"]) for n in ray.nodes() if n["NodeID"] == first.node_id)

found = {}
trial = Trial.remote()
assert ray.get(trial.where.remote()) == first.node_id
found["told"], left_s = ray.get(trial.preempted.remote())
end = time.time() + left_s
late = Trial.remote()  # the drained node has room for it, and no other has
found["placed"] = len(ray.wait([late.where.remote()], timeout=2)[0])
second = cluster.add_node(num_cpus=2)
others = [late, Trial.remote()]
found["others"] = {ray.get(other.where.remote(), timeout=60) == second.node_id for other in others} == {True}
time.sleep(max(0.0, end + 1 - time.time()))
found["beyond"] = ray.get(trial.where.remote(), timeout=10) == first.node_id and state()[0]
trial.leave.remote()
until = time.time() + 60
while state()[0] and time.time() < until:
    time.sleep(0.1)
found["left"] = state()
print(json.dumps(found))
ray.shutdown()
cluster.shutdown()
'''


@pytest.mark.slow
def test_a_real_node_that_is_drained_gets_no_new_trial_and_keeps_its_own(service):
    """With tokens on: nothing new is placed there, what runs goes on beyond the deadline, then the node leaves."""
    service.hold()
    with tempfile.TemporaryDirectory(
        prefix="ray", ignore_cleanup_errors=True
    ) as folder:  # Ray's sockets need a short path
        token = Path(folder) / "token"
        token.touch(0o600)
        token.write_text("0123456789abcdef" * 4, encoding="ascii")
        process = subprocess.Popen(
            [sys.executable, "-c", RAY],
            cwd=Path(__file__).parents[2],
            env=os.environ
            | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
            | {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_TMPDIR": folder, spot.VARIABLE: service.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            service.asked(1, AWS_TOKEN)
            service.announce(left_s=4)
            service.release()
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()

    assert process.returncode == 0, errors
    found = json.loads(output.splitlines()[-1])
    left = found.pop("left")
    assert found == {"told": [True], "placed": 0, "others": True, "beyond": True}
    assert left[0] is False
    assert re.fullmatch(r"the cloud will terminate this spot machine in [0-4] s", left[1])

"""Hives that fail, one way each: the worker serves on, and comes back to them."""

import pytest
from clients import draw
from mock_hive import HEARTBEAT, READY, Knobs, mock_hive, nobody, spaced
from serving import SMALL, WorkerProcess, serving

from sd_rbee.hive import client as hive_client


def serves(worker: WorkerProcess) -> bool:
    return draw(worker, SMALL)[-1].name == "complete"


def test_two_refusals_for_a_while_and_then_a_yes() -> None:
    with mock_hive(Knobs(statuses=[503, 503])) as hive, serving("--callback-url", hive.url) as worker:
        calls = hive.wait(READY, 3)
        assert [call.status for call in calls] == [503, 503, 200]
        assert spaced(calls, 1, 1)
        assert hive.wait(HEARTBEAT)[0].status == 200
        assert serves(worker)


def test_a_hive_that_wants_a_token_which_the_worker_has_not_is_not_asked_again() -> None:
    with mock_hive(Knobs(token="s3cret")) as hive, serving("--callback-url", hive.url) as worker:
        worker.wait_for("ERROR sd_rbee.hive: the hive has not taken the ready call")
        [call] = hive.of(READY)
        assert (call.status, call.headers.get("authorization")) == (401, None)
        assert serves(worker)
        assert not hive.of(HEARTBEAT)


def test_a_hive_that_answers_too_late_is_asked_again() -> None:
    late = hive_client.TIMEOUT_SECONDS + 1
    with mock_hive(Knobs(delay=late)) as hive, serving("--callback-url", hive.url) as worker:
        assert serves(worker)
        worker.wait_for("ready call 1 of 5 failed: no answer")
        worker.wait_for("registered with the hive")
        # The late one has its answer too, which nobody waited for.
        assert [call.status for call in hive.wait(READY, 2)] == [200, 200]


def test_a_hive_that_drops_its_first_connections_is_asked_again() -> None:
    with mock_hive(Knobs(drop=2)) as hive, serving("--callback-url", hive.url) as worker:
        assert [call.status for call in hive.wait(READY, 3)] == [None, None, 200]
        worker.wait_for("registered with the hive")


def test_a_hive_that_comes_up_later_is_found() -> None:
    url = nobody()
    with serving("--callback-url", url) as worker:
        worker.wait_for("ready call 1 of 5 failed: no answer")
        with mock_hive(port=int(url.rpartition(":")[2])) as hive:
            assert hive.wait(READY)[0].status == 200
            assert serves(worker)


def test_a_hive_that_was_started_anew_is_told_anew() -> None:
    with mock_hive() as hive:
        flags = ("--callback-url", hive.url, "--heartbeat-seconds", 0.2)
        port = int(hive.url.rpartition(":")[2])
        with serving(*flags) as worker:
            hive.wait(HEARTBEAT)
            hive.close()
            worker.wait_for("heartbeat failed: no answer")
            with mock_hive(port=port) as anew:
                assert anew.wait(READY)[0].status == 200
                assert anew.wait(HEARTBEAT, 2)[-1].status == 200
                assert anew.of(HEARTBEAT)[0].status == 404


def test_a_redirect_of_a_heartbeat_is_not_followed() -> None:
    with mock_hive() as elsewhere, mock_hive() as hive:
        with serving("--callback-url", hive.url, "--heartbeat-seconds", 0.2) as worker:
            hive.wait(HEARTBEAT)
            hive.knobs.redirect_to = elsewhere.url + HEARTBEAT
            worker.wait_for("heartbeat failed: status 307")
        assert not elsewhere.calls


@pytest.mark.parametrize("path", ["/v2/internal/workers/ready", "/a%20b/c?d=e%2Ff&g=h", "/twice//x//"])
def test_a_path_is_not_touched(path: str) -> None:
    with mock_hive() as hive, serving("--callback-url", hive.url + path):
        assert hive.wait(path)[0].status == 200
        assert not hive.of(READY)

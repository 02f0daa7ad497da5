"""Messages from a kernel: those accepted, and those that stop it."""

import json
import time
from typing import Any

import pytest
import zmq
from nbformat.v4 import output_from_msg

from grader.sandbox.policy import SandboxPolicy, Stop
from grader.sandbox.transport import LEFT_OUT, MalformedMessage, MessageGuard, OutputLimit, open_bounded_socket

POLICY = SandboxPolicy(output_mib=1, output_messages=3)


def message(kind: Any = "stream", content: Any = None, parent: Any = None, **header: Any) -> dict[str, Any]:
    full = {"msg_id": "m", "msg_type": kind, **header}
    content = {"name": "stdout", "text": "hello"} if content is None else content
    return {"header": full, "msg_type": kind, "parent_header": {} if parent is None else parent, "content": content}


def display(transient: Any) -> dict[str, Any]:
    return message("display_data", {"data": {}, "metadata": {}, "transient": transient})


HONEST = {
    "stream": message(),
    "status": message("status", {"execution_state": "idle"}),
    "display": display({}),
    "with id": display({"display_id": "a"}),
    "no transient": display(None),
    "error": message("error", {"ename": "E", "evalue": "", "traceback": ["line"]}),
    "aborted reply": message("execute_reply", {"status": "aborted"}),
    "a kind without rules": message("shutdown_reply", {"restart": False}),
}
DISHONEST = {
    "text missing": message("stream", {"name": "stdout"}),
    "text a number": message("stream", {"name": "stdout", "text": 1}),
    "state missing": message("status", {}),
    "data a list": message("display_data", {"data": [], "metadata": {}}),
    "transient a list": display([1]),
    "transient an empty list": display([]),
    "id a list": display({"display_id": []}),
    "traceback of numbers": message("error", {"ename": "E", "evalue": "", "traceback": [1]}),
    "content a list": message("stream", []),
    "parent a list": message(parent=[]),
    "type a list": message([]),
    "id a number": message(msg_id=7),
}


@pytest.fixture
def stops() -> list[Stop]:
    return []


@pytest.fixture
def intake(stops: list[Stop]) -> MessageGuard:
    return MessageGuard(POLICY, stops.append)


@pytest.mark.parametrize("honest", HONEST.values(), ids=HONEST)
def test_honest_messages_pass(intake: MessageGuard, stops: list[Stop], honest: dict[str, Any]) -> None:
    assert intake.check(lambda: honest) == honest
    assert stops == []


@pytest.mark.parametrize("kind", ["stream", "display_data", "execute_result", "error", "execute_reply"])
def test_what_stands_for_a_large_tree_is_a_message_of_every_kind(intake: MessageGuard, kind: str) -> None:
    """One without a field that nbformat reads would end the run."""
    left = message(kind, json.loads(LEFT_OUT))
    assert intake.check(lambda: left) == left
    if kind != "execute_reply":
        assert output_from_msg(left).output_type == kind


ERRORS = (ValueError, TypeError, KeyError, RecursionError, IndexError)


@pytest.mark.parametrize(
    "found", [*DISHONEST.values(), *ERRORS], ids=[*DISHONEST, *(f"parsing: {error.__name__}" for error in ERRORS)]
)
def test_others_stop_the_kernel(intake: MessageGuard, stops: list[Stop], found: Any) -> None:
    def parse() -> dict[str, Any]:
        if found in ERRORS:
            raise found("malformed")
        return dict(found)

    with pytest.raises(MalformedMessage):
        intake.check(parse)
    assert stops == [Stop.PROTOCOL]


def test_widgets_belong_to_no_request(intake: MessageGuard) -> None:
    widget = message("comm_open", {"comm_id": "c", "data": {}}, parent={"msg_id": "r"})
    assert intake.check(lambda: widget)["parent_header"] == {}


@pytest.mark.parametrize(
    ("frames", "admitted"),
    [pytest.param([[b"x"]] * 4, 3, id="messages"), pytest.param([[bytes(400_000), bytes(300_000)]] * 2, 1, id="bytes")],
)
def test_caps(intake: MessageGuard, stops: list[Stop], frames: list[list[bytes]], admitted: int) -> None:
    for parts in frames[:admitted]:
        intake.admit(parts)
    assert stops == []
    with pytest.raises(OutputLimit):
        intake.admit(frames[admitted])
    assert stops == [Stop.OUTPUT]


def test_a_message_outlives_its_connection() -> None:
    """Else libzmq ends the whole process where a SUB socket has read a first frame and the rest is gone."""
    frames = [b"first", b"second"]
    with zmq.Context() as context, open_bounded_socket(context, zmq.DEALER) as client:
        with context.socket(zmq.DEALER) as kernel:
            client.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            broken = client.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            kernel.send_multipart(frames)
            assert client.poll(10_000)
        with broken:
            assert broken.poll(10_000)
            time.sleep(0.1)  # libzmq acts on it after it has told
            client.disable_monitor()
        assert client.poll(0)
        assert client.recv_multipart(zmq.DONTWAIT) == frames


def send_until(deadline_s: float, client: Any) -> None:
    """Send small messages, until libzmq has seen that nobody takes them."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        client.send(b"print('later')")
        time.sleep(0.02)


def test_a_send_on_a_broken_connection_fails_at_once() -> None:
    """Else the grader would wait for a new connection, for ever: none is made."""
    with (
        zmq.Context() as context,
        open_bounded_socket(context, zmq.DEALER) as client,
        context.socket(zmq.DEALER) as peer,
    ):
        client.connect(f"tcp://127.0.0.1:{peer.bind_to_random_port('tcp://127.0.0.1')}")
        peer.send(bytes(client.maxmsgsize + 1))
        with pytest.raises(zmq.Again):
            send_until(10, client)

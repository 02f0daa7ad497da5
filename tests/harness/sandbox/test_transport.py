"""What the asker accepts from a kernel."""

from typing import Any

import pytest

from grader.sandbox.policy import SandboxPolicy, Stop
from grader.sandbox.transport import MalformedMessage, MessageGuard, OutputLimit

POLICY = SandboxPolicy(output_mib=1, output_messages=3)


def message(kind: Any = "stream", content: Any = None, parent: Any = None, **header: Any) -> dict[str, Any]:
    full = {"msg_id": "m", "msg_type": kind, **header}
    content = {"name": "stdout", "text": "hello"} if content is None else content
    return {"header": full, "msg_type": kind, "parent_header": {} if parent is None else parent, "content": content}


@pytest.fixture
def stops() -> list[Stop]:
    return []


@pytest.fixture
def intake(stops: list[Stop]) -> MessageGuard:
    return MessageGuard(POLICY, stops.append)


HONEST = [
    pytest.param(message(), id="stream"),
    pytest.param(message("status", {"execution_state": "idle"}), id="status"),
    pytest.param(message("display_data", {"data": {}, "metadata": {}, "transient": {}}), id="display"),
    pytest.param(message("display_data", {"data": {}, "metadata": {}, "transient": {"display_id": "a"}}), id="with id"),
    pytest.param(message("display_data", {"data": {}, "metadata": {}, "transient": None}), id="no transient"),
    pytest.param(message("error", {"ename": "E", "evalue": "", "traceback": ["line"]}), id="error"),
    pytest.param(message("execute_reply", {"status": "aborted"}), id="aborted reply"),
    pytest.param(message("shutdown_reply", {"restart": False}), id="a kind without rules"),
]
DISHONEST = [
    pytest.param(message("stream", {"name": "stdout"}), id="text missing"),
    pytest.param(message("stream", {"name": "stdout", "text": 1}), id="text a number"),
    pytest.param(message("status", {}), id="state missing"),
    pytest.param(message("display_data", {"data": [], "metadata": {}}), id="data a list"),
    pytest.param(message("display_data", {"data": {}, "metadata": {}, "transient": [1]}), id="transient a list"),
    pytest.param(
        message("display_data", {"data": {}, "metadata": {}, "transient": {"display_id": []}}), id="id a list"
    ),
    pytest.param(message("error", {"ename": "E", "evalue": "", "traceback": [1]}), id="traceback of numbers"),
    pytest.param(message("stream", []), id="content a list"),
    pytest.param(message(parent=[]), id="parent a list"),
    pytest.param(message([]), id="type a list"),
    pytest.param(message(msg_id=7), id="id a number"),
]


@pytest.mark.parametrize("honest", HONEST)
def test_honest_messages_pass(intake: MessageGuard, stops: list[Stop], honest: dict[str, Any]) -> None:
    assert intake.check(lambda: honest) == honest
    assert stops == []


@pytest.mark.parametrize("dishonest", DISHONEST)
def test_others_stop_the_kernel(intake: MessageGuard, stops: list[Stop], dishonest: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        intake.check(lambda: dishonest)
    assert stops == [Stop.PROTOCOL]


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, RecursionError, IndexError])
def test_what_cannot_be_parsed_stops_the_kernel(
    intake: MessageGuard, stops: list[Stop], error: type[Exception]
) -> None:
    def parse() -> dict[str, Any]:
        raise error("malformed")

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

"""The node with rclpy, in one process with its publisher (pip install '.[ros]', or a sourced ROS installation)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no rclpy: pip install 'puvae-rt[ros]'")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100))  # other tests are none of our peers

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Float64, String  # noqa: E402

from puvae_rt.ros.node import PurifierNode  # noqa: E402

SECONDS = 30.0
TOPICS = {
    "crops": (Image, "/puvae/crops"),
    "labels": (String, "/puvae/labels"),
    "processing": (Float64, "/puvae/debug/processing_time_ms"),
    "latency": (Float64, "/puvae/debug/pipeline_latency_ms"),
    "diagnostics": (DiagnosticArray, "/diagnostics"),
}


class Bench:
    """The node under test, and a peer that publishes pictures and keeps what comes back."""

    def __init__(self, cache: Path, **parameters: Any) -> None:
        os.environ["PUVAE_CACHE"] = str(cache)
        rclpy.init()
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node, self.peer = PurifierNode(parameter_overrides=overrides), rclpy.create_node("peer")
        self.got: dict[str, list[Any]] = {name: [] for name in TOPICS}
        for name, (kind, topic) in TOPICS.items():
            self.peer.create_subscription(kind, topic, self.got[name].append, QoSProfile(depth=2000))
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)

    def start(self) -> None:
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS

    def publisher(self, kind: Any = Image, topic: str = "/image", reliable: bool = True) -> Any:
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        return self.peer.create_publisher(kind, topic, QoSProfile(depth=1, reliability=policy))

    def until(self, holds: Callable[[], Any], seconds: float = SECONDS) -> None:
        """Spins until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it did not come to pass"
            self.executor.spin_once(timeout_sec=0.05)

    def matched(self, publisher: Any) -> Any:
        self.until(lambda: publisher.get_subscription_count() and self.node.count_subscribers("/puvae/labels"))
        return publisher

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(message.data) for message in self.got["labels"]]

    def close(self) -> None:
        self.node.trigger_shutdown()
        self.executor.shutdown()
        for node in (self.node, self.peer):
            node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**parameters: Any) -> Bench:
        made.append(Bench(tmp_path, **parameters))
        return made[0]

    yield make
    for each in made:
        each.close()


def picture(bench: Bench, number: int = 0, encoding: str = "bgr8", height: int = 48, width: int = 64) -> Image:
    channels = 1 if encoding == "mono8" else 3
    message = Image(height=height, width=width, encoding=encoding, step=width * channels)
    message.header.stamp = bench.peer.get_clock().now().to_msg()
    message.header.frame_id = str(number)
    message.data = np.full(height * width * channels, number % 256, np.uint8).tobytes()
    return message


@pytest.mark.slow
def test_a_picture_is_answered(bench: Callable[..., Bench]) -> None:
    b = bench(regions=[0, 0, 30, 30, 500, 0, 5, 5])
    b.start()
    publisher = b.matched(b.publisher())
    publisher.publish(picture(b))
    b.until(lambda: all(b.got[name] for name in TOPICS))
    (told,), (crop,) = b.told(), b.got["crops"]
    assert told["frame_id"] == crop.header.frame_id == "0"
    assert told["stamp"] == [crop.header.stamp.sec, crop.header.stamp.nanosec]
    assert 0 <= told["regions"][0]["label"] < 10 and told["regions"][1]["label"] == -1
    assert (crop.height, crop.width, crop.encoding) == (28, 28, "mono8")
    assert b.got["latency"][0].data >= b.got["processing"][0].data > 0
    b.until(lambda: any(v.key == "refused" for m in b.got["diagnostics"] for s in m.status for v in s.values))


@pytest.mark.slow
def test_of_a_thousand_pictures_the_newest_is_never_lost(bench: Callable[..., Bench]) -> None:
    b = bench(target="cpu")
    b.start()
    publisher = b.matched(b.publisher())
    for number in range(1000):
        publisher.publish(picture(b, number, height=28, width=28))
        if number % 5 == 0:
            b.executor.spin_once(timeout_sec=0)
    b.until(lambda: b.told() and b.told()[-1]["frame_id"] == "999")
    order = [int(told["frame_id"]) for told in b.told()]
    assert order == sorted(set(order))
    assert b.node.core.counts["purified"] == len(order)


@pytest.mark.slow
def test_encodings_sizes_and_broken_messages_in_mid_stream(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.start()
    publisher = b.matched(b.publisher())
    broken = picture(b, 90)
    broken.data = b"short"
    foreign = picture(b, 91)
    foreign.encoding = "bayer_rggb8"
    stream = [picture(b, 1), broken, picture(b, 2, "rgb8", 100, 31), foreign, picture(b, 3, "mono8", 10, 200)]
    for number, message in enumerate(stream, 1):
        publisher.publish(message)
        b.until(lambda number=number: sum(b.node.core.counts.values()) == number)
    assert b.node.core.counts == {"purified": 3, "broken": 2}
    b.until(lambda: len(b.got["labels"]) == 3)
    assert [told["frame_id"] for told in b.told()] == ["1", "2", "3"]


@pytest.mark.slow
def test_compressed_pictures(bench: Callable[..., Bench]) -> None:
    b = bench(compressed=True)
    b.start()
    publisher = b.matched(b.publisher(CompressedImage, "/image/compressed"))
    for data in (cv2.imencode(".jpg", np.zeros((40, 50, 3), np.uint8))[1].tobytes(), b"no jpeg"):
        message = CompressedImage(format="jpeg", data=data)
        message.header.stamp = b.peer.get_clock().now().to_msg()
        before = sum(b.node.core.counts.values())
        publisher.publish(message)
        b.until(lambda before=before: sum(b.node.core.counts.values()) > before)
    assert b.node.core.counts == {"purified": 1, "broken": 1}


@pytest.mark.slow
def test_a_qos_mismatch_is_told(bench: Callable[..., Bench]) -> None:
    b = bench(reliable=True)
    b.start()
    b.publisher(reliable=False)
    b.until(lambda: b.node.core.counts["qos_mismatch"])


@pytest.mark.slow
def test_parameters_change_where_that_is_safe(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.start()
    change = lambda **new: b.node.set_parameters([Parameter(name, value=value) for name, value in new.items()])[0]  # noqa: E731
    assert change(regions=[1, 2, 30, 40]).successful
    assert b.node.core.settings.rois == [(1, 2, 30, 40)]
    for wrong in ({"regions": [1, 2, 3]}, {"deadline_ms": -1.0}, {"bundle": "cifar10"}, {"reliable": True}):
        refused = change(**wrong)
        assert not refused.successful and refused.reason
    assert b.node.core.settings.rois == [(1, 2, 30, 40)]
    assert change(deadline_ms=1.0).successful
    publisher = b.matched(b.publisher())
    old = picture(b)
    old.header.stamp.sec -= 10
    publisher.publish(old)
    b.until(lambda: b.got["labels"])
    assert b.told()[0]["late"] and b.told()[0]["regions"] == [] and b.node.core.counts == {"late": 1}


@pytest.mark.slow
def test_the_lifecycle_twice(bench: Callable[..., Bench]) -> None:
    b = bench()
    for _ in range(2):
        b.start()
        publisher = b.matched(b.publisher())
        publisher.publish(picture(b))
        b.until(lambda: b.node.core.counts["purified"])
        assert b.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert b.node.count_subscribers("/image") == 0
        assert b.node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        b.peer.destroy_publisher(publisher)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ({"bundle": "absent"}, {"target": "toaster"}, {"regions": [1]}), ids=str)
def test_what_cannot_be_configured(bench: Callable[..., Bench], wrong: dict[str, Any]) -> None:
    b = bench(**wrong)
    assert b.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert b.node.core is None


@pytest.mark.slow
def test_the_program_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    rclpy.init()
    watcher = rclpy.create_node("watcher")
    command = [sys.executable, "-m", "puvae_rt.ros.node", "--ros-args", "-p", "regions:=[1, 2, 30, 40]"]
    environment = os.environ | {"PUVAE_CACHE": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        end = time.monotonic() + SECONDS
        while not watcher.count_subscribers("/image") and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=SECONDS)[0].decode()
    watcher.destroy_node()
    rclpy.try_shutdown()
    assert process.returncode == 0 and "ERROR" not in output and "Traceback" not in output, output

"""`python -m puvae_rt.ros.node`: the ROS 2 lifecycle node `puvae`; docs/howto/ros2.md lists topics and parameters.

Messages in, the core's answers out: what is computed is in `core`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64, String

from puvae_rt.errors import InputError, PuvaeError
from puvae_rt.ros.core import Answer, Core, CoreSettings, Pairing, rois_of
from puvae_rt.ros.pictures import Raw, crop_of, decoded, pixels_of
from puvae_rt.runtime.purifier import Purifier

NAME = "puvae"
DIAGNOSTICS_SECONDS, THROTTLE_SECONDS = 1.0, 5.0
# Name -> default, what it is. Those of CHANGEABLE may be set at any time, the others while the node is unconfigured.
PARAMETERS: dict[str, tuple[Any, str]] = {
    "bundle": ("mnist", "a bundle's folder, or the name of a model that ships"),
    "target": ("", "native, cpu, rtx or tensorrt; empty is the bundle's own"),
    "threads": (1, "for one picture"),
    "compressed": (False, "subscribe to sensor_msgs/CompressedImage on image/compressed in place of image"),
    "detections": (False, "take the regions from vision_msgs/Detection2DArray on detections, stamp by stamp"),
    "reliable": (False, "ask publishers for reliable delivery"),
    "regions": (Parameter.Type.INTEGER_ARRAY, "x, y, width, height of each region; the whole picture without any"),
    "deadline_ms": (0.0, "age that a label may have; an older picture is not purified. 0 is none"),
}
CHANGEABLE = ("regions", "deadline_ms")


class PurifierNode(LifecycleNode):  # type: ignore[misc]  # rclpy has no types for mypy
    """Subscribes to pictures, and publishes their purified crops, labels, times and diagnostics.

    Args:
        options: passed on to rclpy's LifecycleNode, e.g. `parameter_overrides`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        self.core: Core | None = None
        self._subscriptions_made: list[Any] = []
        self._pairing = Pairing()
        for name, (default, text) in PARAMETERS.items():
            self.declare_parameter(name, default, ParameterDescriptor(description=text))
        self.add_on_set_parameters_callback(self._on_parameters)
        self.add_post_set_parameters_callback(self._after_parameters)

    # ---- lifecycle

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Loads the purifier and makes the publishers; fails, and says why, when that cannot be."""
        try:
            settings = self._settings({})
            if self._value("detections"):
                import vision_msgs.msg  # noqa: F401  # comes with a ROS installation, not from PyPI
            self.core = Core(self._load(), settings)
        except (PuvaeError, ImportError) as error:
            self.get_logger().error(f"{error}")
            return TransitionCallbackReturn.FAILURE
        events = PublisherEventCallbacks(incompatible_qos=self._on_mismatch)
        publish = partial(self.create_publisher, qos_profile=QoSProfile(depth=1), event_callbacks=events)
        self._crops, self._labels = publish(Image, "~/crops"), publish(String, "~/labels")
        self._processing = publish(Float64, "~/debug/processing_time_ms")
        self._latency = publish(Float64, "~/debug/pipeline_latency_ms")
        self._diagnostics = publish(DiagnosticArray, "/diagnostics")
        self._timer = self.create_timer(DIAGNOSTICS_SECONDS, self._diagnose)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Begins to listen."""
        reliable = ReliabilityPolicy.RELIABLE if self._value("reliable") else ReliabilityPolicy.BEST_EFFORT
        quality = QoSProfile(depth=1, reliability=reliable)  # the newest picture alone
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_mismatch)
        listen = partial(self.create_subscription, qos_profile=quality, event_callbacks=events)
        compressed = self._value("compressed")
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self._subscriptions_made = [listen(kind, topic, self._on_image)]
        if self._value("detections"):
            from vision_msgs.msg import Detection2DArray

            self._subscriptions_made.append(listen(Detection2DArray, "detections", self._on_detections))
        return super().on_activate(state)

    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Listens no more; the purifier stays loaded."""
        while self._subscriptions_made:
            self.destroy_subscription(self._subscriptions_made.pop())
        self._pairing = Pairing()
        return super().on_deactivate(state)

    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Gives everything back that `on_configure` took."""
        self.on_deactivate(state)
        if self.core is not None:
            self.core.purifier.close()
            self.core = None
            self.destroy_timer(self._timer)
            for publisher in (self._crops, self._labels, self._processing, self._latency, self._diagnostics):
                self.destroy_publisher(publisher)
        return TransitionCallbackReturn.SUCCESS

    on_shutdown = on_cleanup

    # ---- parameters

    def _value(self, name: str) -> Any:
        return self.get_parameter_or(name, Parameter(name, value=[] if name == "regions" else None)).value

    def _settings(self, changes: dict[str, Any]) -> CoreSettings:
        regions, deadline = (changes.get(name, self._value(name)) for name in CHANGEABLE)
        return CoreSettings(tuple(regions or ()), float(deadline))

    def _load(self) -> Purifier:
        return Purifier.load(self._value("bundle"), self._value("target") or None, threads=self._value("threads"))

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        changes = {parameter.name: parameter.value for parameter in parameters}
        fixed = [name for name in changes if name in PARAMETERS and name not in CHANGEABLE]
        if fixed and self.core is not None:
            return SetParametersResult(
                successful=False, reason=f"{', '.join(fixed)}: the node is configured; clean it up first"
            )
        try:
            self._settings(changes)
        except PuvaeError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _after_parameters(self, parameters: Sequence[Parameter]) -> None:
        if self.core is not None:
            self.core.settings = self._settings({})

    # ---- messages

    def _on_image(self, message: Any) -> None:
        if not self._value("detections"):
            self._answer(message)
        elif (found := self._pairing.add("image", _stamp(message), message, "detections")) is not None:
            self._answer(message, found)

    def _on_detections(self, message: Any) -> None:
        if (image := self._pairing.add("detections", _stamp(message), message, "image")) is not None:
            self._answer(image, message)

    def _answer(self, message: Any, detections: Any = None) -> None:
        if self.core is None:
            return
        age = (self.get_clock().now() - Time.from_msg(message.header.stamp)).nanoseconds / 1e6
        try:
            answer = self.core(_decoder(message), age, None if detections is None else rois_of(detections))
        except InputError as error:
            self.get_logger().warning(f"{error}", throttle_duration_sec=THROTTLE_SECONDS)
            return
        self._publish(message.header, answer, self.core.purifier.classes)

    def _publish(self, header: Any, answer: Answer, classes: Sequence[str]) -> None:
        for region in answer.regions:
            if region.result is not None and not region.result.degraded:
                self._crops.publish(_image(header, crop_of(region.result.image)))
        told = {"stamp": [header.stamp.sec, header.stamp.nanosec], "frame_id": header.frame_id} | answer.told(classes)
        self._labels.publish(String(data=json.dumps(told, allow_nan=False)))
        self._processing.publish(Float64(data=answer.processing_ms))
        self._latency.publish(Float64(data=answer.age_ms))

    def _on_mismatch(self, event: Any) -> None:
        self.get_logger().error(
            f"QoS: got {event.total_count} peers whose {event.last_policy_kind} does not fit ours, expected compatible "
            "ones; set the parameter `reliable`, or the peer's QoS"
        )
        if self.core is not None:
            self.core.counts["qos_mismatch"] += event.total_count_change

    def _diagnose(self) -> None:
        if self.core is None:
            return
        counts = self.core.counts
        bad = counts["broken"] + counts["refused"] + counts["degraded"] + counts["qos_mismatch"]
        level = DiagnosticStatus.WARN if bad or counts["late"] else DiagnosticStatus.OK
        values = [KeyValue(key=name, value=str(count)) for name, count in sorted(counts.items())]
        status = DiagnosticStatus(
            level=level, name=f"{NAME}: purifier", message="counts since the start", values=values
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def _stamp(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def _decoder(message: Any) -> Callable[[], Any]:
    if isinstance(message, Image):
        return partial(pixels_of, Raw(message.height, message.width, message.encoding, message.step, message.data))
    return partial(decoded, message.data)


def _image(header: Any, raw: Raw) -> Image:
    message = Image(header=header, height=raw.height, width=raw.width, encoding=raw.encoding, step=raw.step)
    message.data = raw.data
    return message


def main(arguments: Sequence[str] | None = None) -> int:
    """Configures and activates the node, and runs it until it is stopped; 1 when it cannot start."""
    rclpy.init(args=sys.argv if arguments is None else list(arguments))
    node = PurifierNode()
    try:
        for transition in (node.trigger_configure, node.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                return 1
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.on_cleanup(None)  # no transition: a signal has shut the context down
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What one shape of call puts on the stream: enqueued plainly the first time, replayed as a graph ever after."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from puvae_rt.device import Device, Graph, Module, Stream
from puvae_rt.errors import DeviceError
from puvae_rt.gpu.compiled import Execution
from puvae_rt.kernels.launch import Launch

logger = logging.getLogger(__name__)


class Kernel:
    """A launch whose arguments may change between calls."""

    def __init__(self, module: Module, launch: Launch, stream: Stream) -> None:
        self.launch = launch
        self.arguments: Sequence[Any] = ()
        self._module, self._stream = module, stream

    def __call__(self) -> None:
        self._module.launch(self.launch, self.arguments, self._stream)


class Step(NamedTuple):
    """One piece of work; `enqueue` puts it on the stream and returns."""

    name: str
    enqueue: Callable[[], None]


class Steps(NamedTuple):
    """Work in stream order."""

    work: tuple[Step, ...]
    executions: Mapping[str, Execution]  # of engines, among them
    variable: Kernel | None = None  # the step whose arguments change from call to call


class Plan:
    """One shape of call.

    The first run enqueues them one by one: TensorRT wants one such run before a capture. The second captures them,
    and from then on a call is one graph launch. What cannot be captured goes on plainly; the reason is logged once.

    Args:
        device, stream: where it runs.
        name: of the shape, for the log.
        steps: what it does.
    Attributes:
        name, steps: those given.
        replayed: whether the last call was one graph launch.
        obstacle: why it is not captured; None when it is, or will be.
    """

    def __init__(self, device: Device, stream: Stream, name: str, steps: Steps) -> None:
        self._device, self._stream, self.name, self.steps = device, stream, name, steps
        self._warm = self.replayed = False
        self._graph: Graph | None = None
        self.obstacle: str | None = None
        if not device.captures:
            self._give_up(f"device layer {device.layer!r} has no graphs; use device='cuda'")

    @property
    def captured(self) -> bool:
        """Whether a call is a graph launch by now."""
        return self._graph is not None

    def run(self, arguments: Sequence[Any] | None = None) -> None:
        """Enqueues all of it; `arguments` are new ones for the variable step."""
        changed = arguments is not None and self._set(arguments)
        if self._warm and self._graph is None and self.obstacle is None:
            self._capture()
        elif changed and self._graph is not None:
            self._update(self._graph)
        if self._graph is None:
            self.enqueue()
            return
        self._graph.launch(self._stream)
        self.replayed = True

    def enqueue(self) -> None:
        """The steps one by one, whether there is a graph or not."""
        for step in self.steps.work:
            step.enqueue()
        self._warm, self.replayed = True, False

    def close(self) -> None:
        """Frees the graph; the next run enqueues plainly."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _set(self, arguments: Sequence[Any]) -> bool:
        variable = self._variable
        before, variable.arguments = variable.arguments, arguments
        return before is not arguments

    @property
    def _variable(self) -> Kernel:
        assert self.steps.variable is not None, "only a plan with a variable step is given arguments"
        return self.steps.variable

    def _capture(self) -> None:
        """Engines are asked after their first run: before it, TensorRT has yet to set itself up."""
        reasons = (run.why_not_capturable(self._stream) for run in self.steps.executions.values())
        if (reason := next(filter(None, reasons), None)) is not None:
            self._give_up(reason)
            return
        try:
            self._graph = self._device.capture(self._stream, self.enqueue)
        except DeviceError as error:
            self._give_up(str(error))

    def _update(self, graph: Graph) -> None:
        try:
            graph.set_arguments(self._variable.launch, self._variable.arguments)
        except DeviceError as error:  # it would replay the call before
            self.close()
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.obstacle = reason
        logger.warning("pipeline, %s: enqueued call by call, without a CUDA graph: %s", self.name, reason)


class Plans:
    """The most recently used plans.

    Args:
        capacity: how many.
        retire: is given each one that makes room, whose work may still be running.
    """

    def __init__(self, capacity: int, retire: Callable[[Plan], None]) -> None:
        self._capacity, self._retire = capacity, retire
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plans)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._plans

    def get(self, key: Hashable, make: Callable[[], Plan]) -> Plan:
        """The plan of a shape; the one unused for longest makes room for a new one."""
        if key not in self._plans:
            made = make()
            while len(self._plans) >= self._capacity:
                self._retire(self._plans.popitem(last=False)[1])
            self._plans[key] = made
        self._plans.move_to_end(key)
        return self._plans[key]

    def obstacles(self) -> dict[str, str]:
        """Shape of call -> why it is not replayed as a graph, for those that are not."""
        return {plan.name: plan.obstacle for plan in self._plans.values() if plan.obstacle is not None}

    def close(self) -> None:
        """Closes all of them; their work must be done."""
        while self._plans:
            self._plans.popitem()[1].close()

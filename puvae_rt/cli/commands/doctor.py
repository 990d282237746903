"""Say what this machine is ready for: processor, driver, GPU, TensorRT, kernels, power mode, memory, with remedies.

Exit code 0 where the target asked for is ready: the CPU without --target, some GPU target with --device alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import option
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.manifest import TARGETS

GPU = "gpu"
MARKS = {True: "ok", False: "missing", None: "-"}


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae doctor`."""

    target: str | None = option(
        None,
        help=f"target that has to be ready; {GPU} is any target for a GPU",
        choices=(*TARGETS, GPU),
        default_text=f"{CPU}, or {GPU} with --device",
    )
    device: str | None = option(
        None, help="GPU to look at: cuda, cuda:1, pycuda or emulated", default_text="what is installed"
    )


def run(options: Options) -> Outcome:
    """Look at everything; what was found."""
    from puvae_rt.doctor.checks import diagnose

    report = diagnose(options.device)
    target = options.target or (CPU if options.device is None else GPU)
    ready = report.gpu_ready if target == GPU else target in report.ready
    document = asdict(report) | {"gpu_ready": report.gpu_ready, "target": target, "target_ready": ready}
    width = max(len(check.name) for check in report.checks)
    lines = [f"{check.name:<{width}}  {MARKS[check.ok]:<7}  {check.found}" for check in report.checks]
    remedies = [f"  {check.name}: {check.remedy}" for check in report.checks if check.ok is False]
    verdict = f"targets ready here: {', '.join(report.ready) or 'none'}"
    asked = [] if ready else [f"not ready: {'any target for a GPU' if target == GPU else target}"]
    todo = [f"to do{'' if not ready else ' for a GPU'}:", *remedies] if remedies else []
    return Outcome(document, "\n".join([*lines, "", verdict, *asked, *todo]), ready)

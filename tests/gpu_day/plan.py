"""What is measured on a borrowed GPU, in which order, and how long each part of it may take. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / ".gpu"  # what travels beside the tracked tree; ignored by Git
WORK = Path("/tmp/puvae_gpu")  # on the GPU's machine: kept from call to call while it lasts
RESULTS_FILE, LOGS_FILE = "gpu_day.json", "logs.tar.gz"
PREPARED_FILE, DONE_FILE = "prepared.json", "done.json"  # in CARRIED
TRAINED = "trained.tar.gz"  # its parts have a number behind the name

BUDGET = 540  # seconds of one call, all stages together
GRACE = 5  # seconds between being asked to end and being ended: trainings keep the step they are at
LIMIT_BYTES = 64 << 20  # of the tracked tree and CARRIED together, TensorRT 8 not counted
# What may come back: so many files, each of so many bytes, and of so many together (results and logs are small).
RETURNED_FILES, RETURNED_BYTES, RETURNED_TOTAL = 8, 16 << 20, 60 << 20

CUDA, EMULATED = "cuda", "emulated"
PASSED, FAILED, TIMED_OUT, SKIPPED, NOT_REACHED = "passed", "failed", "timed out", "skipped", "not reached"
SKIP_CODE = 77  # exit code of a stage that this machine lacks something for

SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")  # compute-sanitizer's tools


@dataclass(frozen=True)
class Stage:
    """One process.

    Attributes:
        name: by which it is asked for.
        seconds: that it may always have. What stages before it left unused comes on top.
        what: it measures.
        module: of `tests.gpu_day.stages` that runs it.
        under: the command that it is run under, if any.
    """

    name: str
    seconds: int
    what: str
    module: str = ""
    under: tuple[str, ...] = field(default=())


STAGES = (
    Stage("facts", 40, "the machine, its libraries, and what the doctor finds", "facts"),
    Stage("bundles", 25, "the shipped models as ONNX files, written on the machine", "bundles"),
    Stage("kernels", 30, "kernels against their oracles, their times, their share of a copy's bandwidth", "kernels"),
    Stage("pipeline", 95, "agreement with the CPU, graphs, latencies, memory over many frames", "pipeline"),
    Stage("arrays", 30, "arrays of PyTorch and CuPy in and out, two streams at once", "arrays"),
    Stage("race", 65, "Table 5: a batch of 128 against Defense-GAN at its fastest", "race"),
    Stage("straightforward", 25, "the network without passes, on K labelled copies", "straightforward"),
    Stage("contract", 40, "the tests that are marked gpu", "contract"),
    *(
        Stage(
            tool,
            25,
            f"the kernels under compute-sanitizer's {tool}",
            "sanitized",
            ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9"),
        )
        for tool in SANITIZERS
    ),
    Stage("tensorrt8", 60, "TensorRT 8's engines in the same pipeline", "tensorrt8"),
    Stage("training", 30, "the queue of trainings, as far as the time goes", "training"),
)
BY_NAME = {stage.name: stage for stage in STAGES}


@dataclass(frozen=True)
class Effort:
    """How much each stage does.

    Attributes:
        images: of a model that are compared with the CPU.
        batches: sizes of a call.
        runs, large_runs: calls that are timed, and of the largest batch.
        frames: that may leave no memory behind.
        steps, restarts, mini_batch: of the race with Defense-GAN.
    """

    images: int
    batches: tuple[int, ...]
    runs: int
    large_runs: int
    frames: int
    steps: int
    restarts: int
    mini_batch: int


EFFORTS = {
    CUDA: Effort(1000, (1, 8, 128), 2000, 300, 10_000, 200, 20, 128),
    EMULATED: Effort(8, (1, 2), 2, 2, 4, 3, 2, 4),  # that everything runs, and no more
}


@dataclass(frozen=True)
class Training:
    """An entry of the queue: a command of `puvae`, and the data set that it needs."""

    name: str
    dataset: str
    command: tuple[str, ...]


def _training(name: str, dataset: str, command: str) -> Training:
    return Training(name, dataset, tuple(command.split()))


THIN = "--ranks 40 96 32 --replays 2"  # as the models of color images that ship
QUEUE = (  # the larger ones of docs/howto/train.md
    _training(
        "cifar10",
        "cifar10",
        f"train --classifiers A B C D --classifier-epochs 60 --epochs 8 {THIN} --source-weight 100",
    ),
    _training("cifar10's prior", "cifar10", "train-prior"),
    _training("traffic signs", "traffic_signs", f"train --classifiers A B --classifier-epochs 6 --epochs 16 {THIN}"),
    _training("traffic signs' prior", "traffic_signs", "train-prior"),
    _training("cifar10 by PGD", "cifar10", "train-baselines --baseline pgd_training --classifiers A B C D"),
    _training("fashion_mnist by PGD", "fashion_mnist", "train-baselines --baseline pgd_training --classifiers A B C D"),
    _training("mnist by PGD", "mnist", "train-baselines --baseline pgd_training --classifiers A B C D"),
    # 50,000 images in mini-batches of 32: 200,000 steps
    _training("mnist's Defense-GAN", "mnist", "train-baselines --baseline defense_gan --epochs 128"),
    _training("Defense-GAN's cells", "mnist", "evaluate --defense defense_gan --defense-gan-images 1000"),
)

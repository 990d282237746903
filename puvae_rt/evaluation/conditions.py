"""RobustBench's three conditions, measured on a defense and on the engine that is deployed: results/conditions.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from onnx import load_model_from_string
from torch import Tensor

from puvae_rt.attacks.checks import FEW_GRADIENTS, gradients_of, largest_difference, passes_that_differentiate
from puvae_rt.data import Dataset
from puvae_rt.defenses.puvae import DeployedPuvae
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.adaptive import Trial, require_adaptive, trials
from puvae_rt.evaluation.cells import DEPLOYED, PUVAE_OURS
from puvae_rt.evaluation.effort import Effort
from puvae_rt.evaluation.results import CONDITIONS_FILE, Row, measure_once
from puvae_rt.evaluation.run import Note, Options
from puvae_rt.evaluation.timing import Deployed, check_engine
from puvae_rt.onnx_io import read_onnx
from puvae_rt.runtime.bundle import CPU, resolve
from puvae_rt.runtime.engine import graph_of
from puvae_rt.training.device import clock_of

KEY = ("dataset", "classifier", "defense")
LOOPS = ("Loop", "Scan", "If")  # ONNX operators by which a graph's work can depend on its data


class _Pass(NamedTuple):
    """A defended classifier's way from images to logits, and the loops in its graph."""

    defense: str
    answer: Callable[[Tensor], Tensor]
    loops: int
    source: Row


def evaluate_conditions(
    dataset: Dataset,
    classifiers: Sequence[str],
    defenses: Sequence[str],
    deployed: Deployed | None,
    options: Options,
    note: Note,
) -> list[Row]:
    """Measure what is not measured yet and return its rows.

    Of each defense its PyTorch form, and of PuVAE (ours) the engine `deployed`, if there is one, as well: its gradients
    are those of the PyTorch form, whose pass is the same.

    Raises:
        ContractError, CheckpointError, ResultsError
    """
    require_adaptive(defenses)
    rows = []
    with ExitStack() as stack:
        engine = open_engine(deployed, dataset, stack) if deployed and PUVAE_OURS in defenses else None
        for trial in trials(dataset, classifiers, defenses, options, Effort()):
            classify = trial.system.defended
            passes = [_Pass(trial.defense, classify, 0, {})]
            if engine is not None and trial.defense == PUVAE_OURS:
                purifier, loops, source = engine
                passes.append(_Pass(DEPLOYED, partial(behind, purifier, trial), loops, source))
            for one in passes:
                wanted: Row = {"dataset": dataset.name, "classifier": trial.classifier, "defense": one.defense}
                wanted |= {"n": len(trial.images), "seed": options.seed, "weights": trial.system.weights}
                wanted |= {"settings": trial.system.settings | one.source}
                measure = partial(_measure, trial, one)
                row, _ = measure_once(options.results / CONDITIONS_FILE, wanted, KEY, measure, options.gpu)
                rows.append(row)
                note(_told(row))
    return rows


class Engine(NamedTuple):
    """A deployed purifier, how many loops its graph has, and what a row says of it."""

    purifier: DeployedPuvae
    loops: int
    source: Row


def open_engine(deployed: Deployed, dataset: Dataset, stack: ExitStack) -> Engine:
    """The engine, open until `stack` is closed; ContractError where it is not one of the CPU, or of other images."""
    source = resolve(deployed.source, None, classifier=False)
    if source.target != CPU:
        raise ContractError(f"{deployed.source}: target {source.target!r}, expected 'cpu', whose graph can be read")
    graph = graph_of(source)
    model = load_model_from_string(graph) if isinstance(graph, bytes) else read_onnx(graph)
    engine = stack.enter_context(deployed.open())
    check_engine(engine, dataset)
    loops = sum(node.op_type in LOOPS for node in model.graph.node)
    return Engine(DeployedPuvae(engine), loops, {"source": deployed.source, "engine": source.sha256[:16]})


def behind(purifier: DeployedPuvae, trial: Trial, x: Tensor) -> Tensor:
    """The classifier's logits of what the engine makes of images x."""
    return trial.system.defended.classifier(purifier.purify(x))


def _measure(trial: Trial, one: _Pass) -> Row:
    clock = clock_of(trial.options.device)
    start = clock()
    model = trial.target.exact or trial.target.model
    gradients = gradients_of(model, trial.images, trial.labels)
    difference = largest_difference(one.answer, trial.images)
    differentiating = passes_that_differentiate(one.answer, trial.images[:1])
    met = gradients.images_without <= FEW_GRADIENTS and difference == 0 and differentiating == one.loops == 0
    return {
        "zero_gradients": gradients.zero_entries,
        "images_without_gradient": gradients.images_without,
        "largest_difference": difference,
        "passes_that_differentiate": differentiating,
        "loops": one.loops,
        "met": met,
        "seconds": clock() - start,
    }


def _told(row: Row) -> str:
    return (
        f"{row['dataset']} {row['classifier']} / {row['defense']}: {100 * row['zero_gradients']:.2g}% of the gradient "
        f"is zero ({100 * row['images_without_gradient']:.2g}% of the images have none), passes differ by "
        f"{row['largest_difference']:.2g}, gradients in a pass: {row['passes_that_differentiate']}, "
        f"loops: {row['loops']}: {'met' if row['met'] else 'not met'}"
    )

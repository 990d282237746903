"""The tables of what was measured on a GPU, beside what was modelled. Without measurements they say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.gpu_day.plan import PASSED, SANITIZERS, SKIPPED, TIMED_OUT

NOTHING = "Nothing has been measured on a GPU yet."
AIM_RACE, AIM_STRAIGHTFORWARD = 2000, 5  # times faster than Defense-GAN, and than the network without passes
MODELLED_ENGINE = "mnist fp16 exact"
Stages = Mapping[str, Any]


def measured(stages: Stages, model: Mapping[str, Any]) -> str:
    """The section of what was measured, in Markdown.

    Args:
        stages: of results/gpu.json.
        model: results/gpu_model.json.
    """
    if (head := _head(stages)) is None:
        return f"{NOTHING}\n"
    pipeline = _found(stages, "pipeline")
    parts = [
        [head],
        list(_kernels(stages)),
        list(_latencies(pipeline)),
        list(_race(stages)),
        list(_held_against_the_model(pipeline, model, _found(stages, "facts")["gpu"]["name"])),
        list(_tensorrt8(_found(stages, "tensorrt8"))),
        list(_rest(stages)),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def short(stages: Stages) -> str:
    """The same in a few lines, for README."""
    if (head := _head(stages)) is None:
        return f"{NOTHING}\n"
    frame = _found(stages, "pipeline").get("mnist", {}).get("frame", {}).get("1", {})
    whole = f"MNIST's frame in host memory to its label: {_percentiles(frame.get('host_frame'))} ms (p50 / p99 / p99.9)"
    return "\n".join([head, "", f"- {whole}", *_race(stages)]) + "\n"


def _head(stages: Stages) -> str | None:
    """Where it was measured; None where nothing was."""
    facts = _found(stages, "facts")
    if (gpu := facts.get("gpu")) is None:
        return None
    torch, commit = facts.get("packages", {}).get("torch"), stages["facts"].get("commit")
    return (
        f"Measured on {gpu['name']} (driver of CUDA {gpu['driver_cuda']}, PyTorch {torch}, {commit}), PyTorch in "
        "TensorRT's place: its engine's times are not TensorRT's."
    )


def modelled(model: Mapping[str, Any]) -> str:
    """What a roofline model says of every GPU, in Markdown."""
    rows = {(r["gpu"], r["engine"], r["batch"]): r["milliseconds"] for r in model["results"]}
    gpus = list(dict.fromkeys(r["gpu"] for r in model["results"]))
    batches = sorted({r["batch"] for r in model["results"]})
    plain = MODELLED_ENGINE.replace("exact", "none")
    names = [f"batch {batch}, ms" for batch in batches] + [f"without passes, batch {batches[0]}, ms"]
    lines = []
    for gpu in gpus:
        values = [rows[gpu, MODELLED_ENGINE, batch] for batch in batches] + [rows[gpu, plain, batches[0]]]
        lines.append([model["gpus"][gpu]["name"], *(f"{value:.3f}" for value in values)])
    note = "Modelled, not measured: MNIST's FP16 engine with its prior and shortlist, built by TensorRT-RTX."
    return "\n".join([*_table(["GPU", *names], lines), "", note]) + "\n"


def _found(stages: Stages, name: str) -> dict[str, Any]:
    """What a stage found; of one that failed or was cut off, what it had found by then."""
    found: dict[str, Any] = stages.get(name, {}).get("found", {})
    return found


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _kernels(stages: Stages) -> Iterator[str]:
    found = _found(stages, "kernels")
    for name, oracle in found.get("oracles", {}).items():
        yield f"- kernels ({oracle['origin']}, {name}): {oracle['agree']} of {oracle['cases']} cases equal their oracle"
    clean = [tool for tool in SANITIZERS if stages.get(tool, {}).get("status") == PASSED]
    if any(tool in stages for tool in SANITIZERS):
        yield f"- compute-sanitizer: {len(clean)} of {len(SANITIZERS)} tools clean ({', '.join(clean) or 'none'})"
    if times := found.get("times"):
        yield ""
        rows = [[t["kernel"], t["case"], f"{t['microseconds']:.2f}", f"{t['share_of_copy']:.0%}"] for t in times]
        yield from _table(["kernel", "case", "us a launch", "of a copy's bandwidth"], rows)


def _latencies(found: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for model, each in found.items():
        if not isinstance(each, dict) or "agreement" not in each:
            continue
        shares, lost = each["agreement"], each.get("memory")
        yield (
            f"- {model}: class as on the CPU for {shares['projected']:.2%} of {shares['images']} images, label for "
            f"{shares['labels']:.2%}; a graph equals plain calls: {'yes' if each.get('graph_equals_plain') else 'NO'}"
            + (f"; {lost['lost_bytes']} bytes lost over {lost['frames']:,} frames" if lost else "")
        )
        for size, batch in each.get("batch", {}).items():
            frames = each.get("frame", {}).get(size, {})
            cells = (frames.get("host_frame"), frames.get("device_frame"), batch["call"], batch["gpu"])
            rows.append([model, size, *(_percentiles(cell) for cell in cells)])
    if rows:
        yield ""
        head = ["model", "images", "host frame, ms", "device frame, ms", "batch in host memory, ms", "of it GPU, ms"]
        yield from _table(head, rows)
        yield ""
        yield "p50 / p99 / p99.9, to the label."


def _percentiles(ms: Mapping[str, float] | None) -> str:
    return "-" if ms is None else " / ".join(f"{ms[p]:.3f}" for p in ("p50", "p99", "p99_9"))


def _race(stages: Stages) -> Iterator[str]:
    race, plain = _found(stages, "race"), _found(stages, "straightforward")
    if "ratio" in race:
        name, seconds = min(race["defense_gan"].items(), key=lambda item: item[1])
        ours = max(each["p50"] for each in race["ours"].values())
        yield (
            f"- a batch of {race['settings']['images']}: Defense-GAN ({name}, {race['settings']['steps']} steps, "
            f"{race['settings']['restarts']} restarts) {seconds:.3f} s, ours {ours:.3f} ms: {race['ratio']:,.0f} times "
            f"faster ({_reached(race['ratio'], AIM_RACE)})"
        )
    for size, ours in plain.get("ours", {}).items():
        others = {name: each[size]["p50"] for name, each in plain.items() if name != "ours" and size in each}
        if others:
            name, ms = min(others.items(), key=lambda item: item[1])
            ratio = ms / ours["p50"]
            aim = f" ({_reached(ratio, AIM_STRAIGHTFORWARD)})" if size == "1" else ""
            yield (
                f"- {size} images on the device: without passes ({name}) {ms:.3f} ms, ours {ours['p50']:.3f} ms: "
                f"{ratio:.1f} times faster{aim}"
            )


def _reached(got: float, aim: float) -> str:
    return f"aim {aim:,}: {'reached' if got >= aim else 'MISSED'}"


def _held_against_the_model(found: Mapping[str, Any], model: Mapping[str, Any], gpu: str) -> Iterator[str]:
    """MNIST's frames as measured and as modelled for the same product. The engine was PyTorch's: it shows the rest."""
    product = next((key for key in model["gpus"] if key.upper() in gpu.upper()), None)
    wanted = (product, MODELLED_ENGINE)
    rows = {r["batch"]: r["milliseconds"] for r in model["results"] if (r["gpu"], r["engine"]) == wanted}
    for size, frame in found.get("mnist", {}).get("frame", {}).items():
        if int(size) in rows and "host_frame" in frame:
            ms = rows[int(size)]
            yield (
                f"- modelled for {size} regions of a frame (TensorRT-RTX, no classifier): {ms:.3f} ms; measured: "
                f"{frame['host_frame']['p50'] / ms:.1f} times as long"
            )


def _tensorrt8(found: Mapping[str, Any]) -> Iterator[str]:
    for model, each in found.items():
        if isinstance(each, dict) and "engines" in each:
            engine = each["engines"].get("engine.onnx", {})
            calls = {size: _percentiles(batch["call"]) for size, batch in each.get("batch", {}).items()}
            told = ", ".join(f"batch {size}: {ms}" for size, ms in calls.items())
            yield f"- TensorRT {engine.get('tensorrt')}, {model}, attested: {engine.get('attested')}; {told} ms"


def _rest(stages: Stages) -> Iterator[str]:
    for name, row in stages.items():
        if row["status"] == SKIPPED:
            yield f"- {name}: not run, {row['found'].get('skipped', 'no reason')}"
        elif row["status"] != PASSED:
            more = "; what it measured until then stands above" if row["status"] == TIMED_OUT else ""
            yield f"- **{name}: {row['status']}**{more}"

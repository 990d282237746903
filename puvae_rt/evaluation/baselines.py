"""Trained baselines, kept beside the results; `python -m puvae_rt.evaluation.baselines` is `puvae keep-baselines`."""

from __future__ import annotations

from pathlib import Path

from puvae_rt.cli.entry import forward
from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation.cells import DEFENSE_GAN, MAGNET, PUVAE_PAPER, TRAINED_CLASSIFIERS

PATTERNS = (*(f"{name}_?" for name in TRAINED_CLASSIFIERS), MAGNET, DEFENSE_GAN, f"{PUVAE_PAPER}*")


def keep_baselines(models: Path, dataset: str, baselines: Path) -> dict[str, int]:
    """Writes what is there and returns the size of each file in bytes.

    Raises:
        CheckpointError: no baseline in the folder, or one that is damaged or does not fit FP16.
    """
    from puvae_rt.training.checkpoint import load_tensors, save_tensors  # needs PyTorch: `--help` does not

    found = [path for pattern in PATTERNS for path in sorted((models / dataset).glob(f"{pattern}.safetensors"))]
    found = [path for path in found if not path.stem.endswith(".checkpoint")]
    if not found:
        raise CheckpointError(f"{models / dataset}: no baseline; train one with `puvae train-baselines`")
    folder, sizes = baselines / dataset, {}
    for path in found:
        tensors, meta = load_tensors(path)
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        if bad := sorted(name for name, half in halves.items() if not half.isfinite().all()):
            raise CheckpointError(f"{path}: {bad[0]} does not fit FP16, expected values within 65,504; train again")
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / path.name, halves, meta)
        sizes[path.name] = (folder / path.name).stat().st_size
    return sizes


main, parser = forward(__name__, "keep-baselines")

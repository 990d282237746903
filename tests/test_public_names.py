"""What programs written for 0.1 import: every name is still found where it was, with no more than a warning."""

from __future__ import annotations

import json
import subprocess
import sys

NAMES = {
    "puvae_rt": "Purifier Purified Result",
    "puvae_rt.bench": "main parser",
    "puvae_rt.benchmark.results": "Bench Result read_bench",
    "puvae_rt.command": "run_command FAILED",
    "puvae_rt.contract": "ImageContract Score",
    "puvae_rt.data": "load_dataset Dataset Split",
    "puvae_rt.diagnosis.checks": "diagnose",
    "puvae_rt.doctor": "main parser",
    "puvae_rt.download": "download",
    "puvae_rt.errors": "PuvaeError DataError BundleError InputError ContractError BuildError VideoError",
    "puvae_rt.evaluation.attacked": "attacked_images",
    "puvae_rt.evaluation.cells": "Cell epsilon_of DEFENCES ADAPTIVE_DEFENCES BUDGET_DEFENCES",
    "puvae_rt.evaluation.models": "Folder _from_onnx",
    "puvae_rt.evaluation.results": "keep accuracy_fields provenance DEFENSE_FILE",
    "puvae_rt.kernels": "binary",
    "puvae_rt.kernels.binary": "source_digest find",
    "puvae_rt.kernels.launch": "PreprocessArgs SelectProjectionArgs preprocess select_projection",
    "puvae_rt.models.classifiers": "classifier",
    "puvae_rt.models.gan": "LATENT Generator",
    "puvae_rt.models.puvae": "PuVAE Light",
    "puvae_rt.models.spec": "Ranks",
    "puvae_rt.robustness.adaptive": "Pgd pgd PuvaePipeline",
    "puvae_rt.robustness.attacks": "fgsm ifgsm rand_fgsm random_targets carlini_wagner_l2",
    "puvae_rt.robustness.defences.protocol": "Defence NoDefence Defended",
    "puvae_rt.robustness.toolbox": "square",
    "puvae_rt.runtime.assets": "shipped",
    "puvae_rt.runtime.cache": "cache_root",
    "puvae_rt.runtime.device": "open_device",
    "puvae_rt.runtime.engine": "open_session",
    "puvae_rt.runtime.gpu.compiled": "Signature CompiledEngine",
    "puvae_rt.runtime.gpu.profile": "profile",
    "puvae_rt.runtime.manifest": "Manifest TensorSpec",
    "puvae_rt.runtime.ort": "open_session",
    "puvae_rt.runtime.pipeline": "GpuPipeline",
    "puvae_rt.runtime.trt": "TrtEngine",
    "puvae_rt.train": "main parser",
    "puvae_rt.training.artefacts": "load_puvae load_classifier",
    "puvae_rt.training.losses": "dead_zone_sse",
    "puvae_rt.training.recipes": "OURS PAPER",
    "puvae_rt.training.tasks": "ClassifierTask PuvaeTask augment random_noise",
    "puvae_rt.video": "digits",
    "puvae_rt.video.digits": "find_digit cv2",
    "puvae_rt.video.live": "LiveSource without_password",
    "puvae_rt.weights_file": "whole",
    "export.build": "main parser build Settings PRECISIONS DEFAULT_BATCH MAX_BATCH",
    "export.checkpoint": "Description META_KEY FORMAT",
    "export.graph": "Graph Tensor",
    "export.kernel_check": "check_kernels",
    "export.on_device": "_graph_equals_plain",
    "export.verify": "main parser verify",
    "export.weights": "Weights load_weights",
    "calib.low_rank": "main parser",
    "demos.video": "main parser",
}

# In a process of its own, where nothing has been imported by its new name yet.
LOOK = """
import importlib, json, sys, warnings
warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)
import torch, onnxruntime, matplotlib  # whatever they warn of themselves
found = {}
for module, names in json.load(sys.stdin).items():
    for name in names.split():
        try:
            exec(f"from {module} import {name}", {})
        except BaseException as error:
            found[f"{module}.{name}"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def test_every_old_name_is_found_with_a_deprecation_warning_at_most() -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOOK]
    done = subprocess.run(command, input=json.dumps(NAMES), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}

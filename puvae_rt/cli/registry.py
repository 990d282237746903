"""Every sub-command of `puvae`: what it is for, and the module that runs it. Importing this costs nothing."""

from __future__ import annotations

from typing import NamedTuple

_COMMANDS = "puvae_rt.cli.commands."


class Entry(NamedTuple):
    """One sub-command.

    Attributes:
        module: its last name under `puvae_rt.cli.commands`.
        summary: one line.
        python_m: what `python -m` calls it by, if it does.
        check: what its exit code 1 means, if it has one.
    """

    module: str
    summary: str
    python_m: str | None = None
    check: str | None = None

    @property
    def path(self) -> str:
        """The module's whole name."""
        return _COMMANDS + self.module


USE, TRAIN, KEEP = "use a model", "train and measure one", "keep the package's own files"
GROUPS: dict[str, dict[str, Entry]] = {
    USE: {
        "models": Entry("models", "list the models that ship, with their accuracy clean and attacked"),
        "build": Entry("build", "compile a model for a target into a bundle", "export.build", "the quality gate"),
        "purify": Entry("purify", "purify folders, tables and videos, here or on a cluster", "puvae_rt.purify"),
        "verify": Entry("verify", "compare a bundle with its FP32 reference", "export.verify", "a limit of the gate"),
        "diff": Entry("diff", "say in which fields two bundles differ", "export.diff", "the bundles differ"),
        "bench": Entry("bench", "time engines side by side", "puvae_rt.bench", "--compare or --slo"),
        "doctor": Entry("doctor", "say what this machine is ready for", "puvae_rt.doctor", "--target is not ready"),
        "demo video": Entry("demo_video", "purify a camera or a video and show it", "demos.video", "--slo is missed"),
        "demo camera": Entry("demo_camera", "purify a camera, with keys", "demos.camera", "--slo is missed"),
        "demo web": Entry("demo_web", "show the purifier at work in a web page", "demos.web", "--slo is missed"),
        "demo driving": Entry("demo_driving", "read traffic signs on the road", "demos.driving", "--slo is missed"),
        "demo make-clip": Entry("demo_make_clip", "write a clip of handwritten digits", "demos.make_clip"),
    },
    TRAIN: {
        "train": Entry("train", "train classifiers and PuVAE on a data set", "puvae_rt.train"),
        "train-prior": Entry("train_prior", "train the prior that helps PuVAE to choose the class"),
        "low-rank": Entry("low_rank", "make a trained PuVAE's large layers thin", "calib.low_rank"),
        "train-baselines": Entry(
            "train_baselines", "train the defenses PuVAE is compared with", "puvae_rt.train_baselines"
        ),
        "search": Entry("search", "search the coefficients of PuVAE's losses", "puvae_rt.training.search"),
        "evaluate": Entry("evaluate", "measure defenses under attack, write tables", "puvae_rt.evaluate"),
    },
    KEEP: {
        "pack": Entry("pack", "make a trained model one that ships", "export.assets"),
        "thin-classifier": Entry("thin_classifier", "make a classifier's large layers thin", "export.thin_classifier"),
        "keep-accuracy": Entry("keep_accuracy", "store the accuracy that `models` shows"),
        "keep-baselines": Entry(
            "keep_baselines", "store trained baselines beside the results", "puvae_rt.evaluation.baselines"
        ),
        "kernel-report": Entry(
            "kernel_report", "registers, spills and occupancy of the CUDA kernels", "puvae_rt.kernels.report"
        ),
    },
}
COMMANDS: dict[str, Entry] = {name: entry for group in GROUPS.values() for name, entry in group.items()}
SHELLS = ("bash", "zsh", "fish")
BUILT_IN = {
    "help": "show the help of a command: puvae help build",
    "completion": f"print the completion of a shell: {', '.join(SHELLS)}",
}

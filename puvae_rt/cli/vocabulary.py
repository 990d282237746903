"""What a flag means that several commands have: the same in each of them. `docs/commands.md` shows it as a table."""

from __future__ import annotations

from typing import NamedTuple

_ONE_OR_MORE = ("tuple[int, ...]",)
_PATH = ("Path",)


class Meaning(NamedTuple):
    """What a flag names, and the types that its value has.

    Attributes:
        what: in words.
        types: of the fields, without None.
    """

    what: str
    types: tuple[str, ...]


FLAGS = {
    "--alarms": Meaning("folder for the frames around each alarm", _PATH),
    "--attack": Meaning("attacks by name", ("str", "tuple[str, ...]")),
    "--baselines": Meaning("folder of kept baselines", _PATH),
    "--batch": Meaning("numbers of images of one call of an engine", ("int", *_ONE_OR_MORE)),
    "--bundle": Meaning("folders that `puvae build` wrote", ("Path", "str", "tuple[Path, ...]")),
    "--classifier": Meaning("a classifier: a shipped one's name, or a file", ("str", "tuple[Path, ...]")),
    "--classifiers": Meaning("architectures of the defended classifiers, by letter", ("tuple[str, ...]",)),
    "--data": Meaning("where the images of a data set are", _PATH),
    "--dataset": Meaning("name of a data set", ("str",)),
    "--degraded": Meaning("what stands in for a frame that is late, NaN or fails", ("str",)),
    "--detector": Meaning("what good images look like", _PATH),
    "--device": Meaning("what runs an engine, or PyTorch", ("str",)),
    "--duration": Meaning("seconds after which a demo stops", ("float",)),
    "--epochs": Meaning("epochs of what is trained", ("int",)),
    "--epsilon": Meaning("L-infinity radius of attacks, of pixels in [0,1]", ("float", "tuple[float, ...]")),
    "--headless": Meaning("no window", ("bool",)),
    "--images": Meaning("number of test images", ("int",)),
    "--max-frames": Meaning("number of frames after which a demo stops", ("int",)),
    "--mini-batch": Meaning("images of a training step", ("int",)),
    "--model": Meaning("a model: a shipped one's name; where it is compiled, a file as well", ("str",)),
    "--no-video": Meaning("no annotated video", ("bool",)),
    "--out": Meaning("what is written: the file or folder", _PATH),
    "--policy": Meaning("frames that are kept for a demo slower than its source", ("str",)),
    "--precision": Meaning("number format of an engine, or of a training's multiplications", ("str",)),
    "--prior": Meaning("whether the model's prior takes part in the choice", ("str",)),
    "--race": Meaning("baseline that purifies the same digits", ("str",)),
    "--ranks": Meaning("ranks of PuVAE's large layers: FC1, FC2, trunk", ("tuple[int, int, int]",)),
    "--rate": Meaning("frames a second", ("float", "float | str")),
    "--record": Meaning("recording to write", ("Path",)),
    "--results": Meaning("folder of measured results", _PATH),
    "--runs": Meaning("folder of trained weights, with one folder per data set below it", _PATH),
    "--samples": Meaning("file of test images and their labels, .npz", _PATH),
    "--seed": Meaning("seed of what is random", ("int",)),
    "--slo": Meaning("deadline of a frame at the 99.9th percentile", ("float",)),
    "--source": Meaning("where frames come from", ("str",)),
    "--target": Meaning("what an engine is compiled for", ("str",)),
    "--threads": Meaning("threads of an engine", ("int", "int | str")),
    "--train-images": Meaning("number of training images", ("int",)),
    "--validation-images": Meaning("number of validation images", ("int",)),
    "--weights": Meaning("file of trained weights, .safetensors", _PATH),
}

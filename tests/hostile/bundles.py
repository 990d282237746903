"""Hostile bundles, cache slots and classifiers, made of the toy purifier."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from puvae_rt import Purifier
from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE, MANIFEST_FILE
from puvae_rt.files import sha256_of
from puvae_rt.runtime.cache import IDENTITY_FILE
from puvae_rt.schema import seal
from tests.hostile.damage import damaged, remove, replaced, restore
from tests.hostile.harness import RIGHT, Kind
from tests.hostile.mutations import mutated
from tests.runtime import toy

BATCH = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
FRAME = np.random.default_rng(1).integers(0, 256, (60, 80), np.uint8)
ROI = (10, -3, 40, 50)
Answer = tuple[np.ndarray, ...]


def answer(purifier: Purifier) -> Answer:
    """All that a purifier says of a batch and of a frame."""
    purified, result = purifier.purify(BATCH), purifier(FRAME, ROI)
    numbers = (purified.images, purified.projected, purified.rmse, purified.score)
    return (*numbers, result.image, np.array([result.label, result.projected]), result.rmse, result.score)


def same(got: Answer, want: Answer) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


def well_formed(got: Answer, classes: int = toy.CLASSES) -> bool:
    """Whether it is an answer at all; of a graph with other weights no more can be said."""
    images, projected, rmse, score, image, labels, one, _ = got
    return (
        (images.shape, images.dtype) == (BATCH.shape, np.float32)
        and (projected.shape, projected.dtype) == ((len(BATCH),), np.int64)
        and rmse.shape == score.shape == (len(BATCH), classes)
        and image.shape == BATCH.shape[1:]
        and one.shape == (classes,)
        and bool(np.all((projected >= -1) & (projected < classes)))
        and bool(np.all((labels >= -1) & (labels < classes)))
    )


def load(source: Path, classifier: bool | Path = True) -> Answer:
    with Purifier.load(source, threads=1, classifier=classifier) as purifier:
        return answer(purifier)


class _Bundle(Kind):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sound, self.case = toy.save_bundle(folder / "sound"), folder / "case"
        self.members = sorted(path.name for path in self.sound.iterdir())
        self.right = load(self.sound)

    def judge(self, source: Path) -> str:
        assert same(load(source), self.right), "another result than of the sound bundle"
        return RIGHT


class DamagedBundle(_Bundle):
    """A sealed bundle whose files are damaged, replaced, exchanged or more."""

    name, weight = "bundles", 20

    def attempt(self, draw: random.Random) -> str:
        bundle = restore(self.sound, self.case)
        member = bundle / draw.choice(self.members)
        kind = draw.randrange(6)
        if kind <= 1:
            member.write_bytes(damaged(member.read_bytes(), draw))
        elif kind == 2:
            replaced(member, draw, self.sound / member.name)
        elif kind == 3:
            other = bundle / draw.choice(self.members)
            data = other.read_bytes()
            other.write_bytes(member.read_bytes())
            member.write_bytes(data)
        elif kind == 4:
            document = json.loads((bundle / MANIFEST_FILE).read_bytes())
            (bundle / MANIFEST_FILE).write_bytes(mutated(document, draw))
        else:
            replaced(bundle / draw.choice(("more.onnx", ".hidden", "engine.onnx.data")), draw, self.sound / member.name)
        return self.judge(bundle)


class ResealedManifest(_Bundle):
    """A manifest that says something else, with the hash that fits: what it says of the images must still hold."""

    name, weight = "manifests", 12

    def attempt(self, draw: random.Random) -> str:
        bundle = restore(self.sound, self.case)
        path = bundle / MANIFEST_FILE
        data = mutated(json.loads(path.read_bytes()), draw)
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        path.write_bytes(json.dumps(seal(document)).encode() if isinstance(document, dict) else data)
        got = load(bundle)
        assert same(got[:5], self.right[:5]), "another projection than of the sound bundle"
        return RIGHT


class ResealedMember(_Bundle):
    """A damaged graph that the manifest vouches for."""

    name, weight = "graphs", 8

    def attempt(self, draw: random.Random) -> str:
        bundle = restore(self.sound, self.case)
        member = bundle / draw.choice((ENGINE_ONNX_FILE, CLASSIFIER_FILE))
        member.write_bytes(damaged(member.read_bytes(), draw))
        files = {name: sha256_of(bundle / name) for name in self.members if name != MANIFEST_FILE}
        toy.edit_manifest(bundle, files=files)
        got = load(bundle)
        assert well_formed(got), "no answer"
        return RIGHT if same(got, self.right) else "other weights"


class CacheSlot(_Bundle):
    """A damaged slot of the engine cache is built anew, never an error, and is sound afterwards."""

    name, weight = "cache slots", 15

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from puvae_rt.runtime.cache import cache_root

        root = cache_root()
        assert root is not None
        self.root = root
        remove(root)
        self.right = load(self.sound)  # now in a slot of its own
        (slot,) = root.iterdir()
        self.slot, self.kept = slot, folder / "slot"
        restore(slot, self.kept)

    def attempt(self, draw: random.Random) -> str:
        restore(self.kept, self.slot)
        member = self.slot / draw.choice((ENGINE_ONNX_FILE, IDENTITY_FILE))
        kind = draw.randrange(6)
        if kind <= 1:
            member.write_bytes(damaged(member.read_bytes(), draw))
        elif kind == 2:
            replaced(member, draw, self.kept / member.name)
        elif kind == 3:
            replaced(self.slot, draw, self.kept)
        elif kind == 4:
            document = json.loads((self.slot / IDENTITY_FILE).read_bytes())
            (self.slot / IDENTITY_FILE).write_bytes(mutated(document, draw))
        else:  # a graph that is damaged before it was hashed
            engine = self.slot / ENGINE_ONNX_FILE
            data = damaged(engine.read_bytes(), draw)
            if data != engine.read_bytes() and not _opens(data):
                engine.write_bytes(data)
                document = json.loads((self.slot / IDENTITY_FILE).read_bytes())
                document["files"][ENGINE_ONNX_FILE] = sha256_of(engine)
                (self.slot / IDENTITY_FILE).write_text(json.dumps(document))
        self.judge(self.sound)
        engine, identity = (self.slot / name for name in (ENGINE_ONNX_FILE, IDENTITY_FILE))
        assert engine.read_bytes() == (self.kept / ENGINE_ONNX_FILE).read_bytes(), "the engine was not mended"
        kept = json.loads((self.kept / IDENTITY_FILE).read_bytes())
        assert json.loads(identity.read_bytes()) == kept, "the identity was not mended"
        return RIGHT

    def left_behind(self) -> list[Path]:
        return [*super().left_behind(), *(path for path in self.root.iterdir() if path != self.slot)]


def _opens(data: bytes) -> bool:
    """Whether ONNX Runtime takes it: then its hash vouches for it, and its numbers are other ones."""
    from puvae_rt.errors import BundleError
    from puvae_rt.runtime.session import open_session

    try:
        open_session(data, 1)
    except BundleError:
        return False
    return True


class UsersClassifier(_Bundle):
    """A user's own .onnx, damaged, replaced or of another form."""

    name, weight = "classifiers", 10

    def attempt(self, draw: random.Random) -> str:
        remove(self.case)
        self.case.mkdir()
        path, sound = self.case / "own.onnx", self.sound / CLASSIFIER_FILE
        kind = draw.randrange(5)
        if kind <= 2:
            path.write_bytes(damaged(sound.read_bytes(), draw))
        elif kind == 3:
            replaced(path, draw, sound)
        else:
            draw.choice(FORMS)(path)
        got = load(self.sound, path)
        assert well_formed(got), "no answer"
        assert same(got[:5], self.right[:5]), "the classifier changed the projection"
        return RIGHT if same(got, self.right) else "other weights"


def _form(input_type: int, output_type: int, shape: tuple[object, ...], classes: int, name: str = "image") -> Callable:
    """A classifier that takes and gives other things."""

    def save(path: Path) -> None:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        weight = np.random.default_rng(3).random((784, classes), np.float32)
        nodes = [
            helper.make_node("Cast", [name], ["single"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["single"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weight"], ["raw"]),
            helper.make_node("Cast", ["raw"], ["logits"], to=output_type),
        ]
        graph = helper.make_graph(
            nodes,
            "own",
            [helper.make_tensor_value_info(name, input_type, shape)],
            [helper.make_tensor_value_info("logits", output_type, ["N", classes])],
            [numpy_helper.from_array(weight, "weight")],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)

    return save


FORMS = [
    _form(1, 1, ("N", 1, 28, 28), 5),
    _form(10, 1, ("N", 1, 28, 28), 5),
    _form(11, 1, ("N", 1, 28, 28), 5),
    _form(2, 1, ("N", 1, 28, 28), 5),
    _form(1, 7, ("N", 1, 28, 28), 5),
    _form(1, 8, ("N", 1, 28, 28), 5),
    _form(1, 1, ("N", 1, "H", "W"), 5),
    _form(1, 1, ("N", 1, 32, 32), 5),
    _form(1, 1, (1, 1, 28, 28), 5),
    _form(1, 1, ("N", 28, 28, 1), 5),
    _form(1, 1, ("N", 784), 5),
    _form(1, 1, ("N", 1, 28, 28), 4),
    _form(1, 1, ("N", 1, 28, 28), 5, "x"),
    lambda path: toy.save_classifier(path, toy.COLOR),
]

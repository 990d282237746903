"""Compare two bundles' manifests field by field: identity, layers, options and measured quality."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "diff")  # first: --help needs none of what follows

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from puvae_rt.runtime.manifest import Manifest

DURATIONS = ("engine.build_seconds",)  # differ between builds of the same inputs
ABSENT = "absent"


def differences(first: Manifest, second: Manifest) -> dict[str, tuple[Any, Any]]:
    """The fields in which two manifests differ: dotted path -> values, "absent" where one has no such field.

    Layers of one name are compared in type and precision. Durations of the builds are left out.
    """
    found = dict(_differing(_document(first), _document(second), ""))
    return {path: values for path, values in found.items() if path not in DURATIONS}


def _document(manifest: Manifest) -> dict[str, Any]:
    """The manifest as nested mappings, its layers by name, without the numbered tensors between them."""
    layers = [{"type": layer.type, "precision": layer.precision} for layer in manifest.engine.layers]
    named = dict(zip((layer.name for layer in manifest.engine.layers), layers, strict=True))
    document = asdict(manifest)
    document["engine"]["layers"] = named if len(named) == len(layers) else layers
    return document


def _differing(one: Any, other: Any, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Every place at or below `path` where the two differ, with its values; a part that one lacks is one place."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _differing(one.get(key, ABSENT), other.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif one != other:
        yield path, (one, other)

"""Tables of the worst of all attacks, of other perturbations, of RobustBench's conditions, and of certificates."""

from __future__ import annotations

from collections.abc import Sequence

from puvae_rt.evaluation.cells import BEYOND, DEFENSES
from puvae_rt.evaluation.labels import NAMES, interval, markdown, notes
from puvae_rt.evaluation.outcomes import join
from puvae_rt.evaluation.results import Row

WORST_TITLE = "Worst of all attacks, image by image (%), L-infinity"
BEYOND_TITLE = "Beyond L-infinity: accuracy (%) under attacks of other shapes and natural corruptions"
CONDITIONS_TITLE = "RobustBench's conditions: gradients that are not zero, a deterministic pass, no loop"
CERTIFICATE_TITLE = "Certified accuracy (%): images that are right within an L2 radius, by randomized smoothing"
CERTIFIED_RADII = (0.0, 0.1, 0.25, 0.5, 0.75)
_CERTIFICATE_NOTE = (
    "The smoothed classifier answers what most noisy copies are given; a certificate is wrong with a chance of .1% an "
    "image (Cohen et al. 2019). It costs one pass a copy, and it is the smoothed classifier's, not that of one pass. "
    "Seconds an image are those of one processor thread among others, to tell the order of magnitude."
)
_WORST_NOTE = (
    "An image counts where it is right without an attack and under every attack in the last column, at this radius or "
    "a smaller one. In brackets: the 95% interval (Wilson). Where the accuracy does not fall to 0 as epsilon grows, an "
    "attack fails rather than the defense holds."
)
_BEYOND_NOTE = "Sizes: an L2 radius, the side of a patch or a blur in pixels, the severity of a corruption."
_MEASURES = ("zero_gradients", "images_without_gradient", "largest_difference", "passes_that_differentiate", "loops")


def worst_table(rows: Sequence[Row]) -> str:
    """The headline: accuracy against the worst of all attacks for each image, a line for each defense and radius."""
    head = ["dataset", "classifier", "defense", "images", "epsilon", "clean", "worst of all", "attacks"]
    body = []
    for found in sorted(join(rows), key=lambda w: (w.dataset, w.classifier, DEFENSES.index(w.defense), w.epsilon)):
        system = [found.dataset, found.classifier, NAMES[found.defense], str(found.worst["n"])]
        shown = [f"{found.epsilon:.4g}", interval(found.clean), interval(found.worst), ", ".join(found.attacks)]
        body.append(system + shown)
    return f"{markdown(head, body)}\n\n{_WORST_NOTE}\n"


def beyond_table(rows: Sequence[Row]) -> str:
    """Accuracy under perturbations that L-infinity does not measure: a line for each, by its size."""
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in sorted(rows, key=lambda r: (r["dataset"], r["classifier"], BEYOND.index(r["attack"]), r["size"])):
        key = (row["dataset"], row["classifier"], row["attack"], f"{row['size']:g}")
        groups.setdefault(key, {})[row["defense"]] = row
    measured = [defense for defense in DEFENSES if any(row["defense"] == defense for row in rows)]
    head = ["dataset", "classifier", "perturbation", "size", *(NAMES[defense] for defense in measured)]
    body = [[*key, *(interval(found.get(defense)) for defense in measured)] for key, found in groups.items()]
    return "\n\n".join([markdown(head, body), *notes(rows), _BEYOND_NOTE]) + "\n"


def conditions_table(rows: Sequence[Row]) -> str:
    """What RobustBench asks of a defense, as measured."""
    head = ["dataset", "classifier", "defense", "images", *(name.replace("_", " ") for name in _MEASURES), "met"]
    order = list(NAMES)
    body = [
        [
            *(row["dataset"], row["classifier"], NAMES[row["defense"]], str(row["n"])),
            *(f"{row[name]:.3g}" for name in _MEASURES),
            "yes" if row["met"] else "no",
        ]
        for row in sorted(rows, key=lambda r: (r["dataset"], r["classifier"], order.index(r["defense"])))
    ]
    return markdown(head, body) + "\n"


def certificate_table(rows: Sequence[Row]) -> str:
    """The share of images that is certified within each radius, a line for each defense and noise."""
    radii = [f"L2 > {radius:g}" for radius in CERTIFIED_RADII]
    head = ["dataset", "classifier", "defense", "images", "sigma", "noisy copies", *radii, "abstained", "s an image"]
    body = [
        [
            *(row["dataset"], row["classifier"], NAMES[row["defense"]], str(row["n"])),
            *(f"{row['sigma']:g}", f"{row['copies']:,}"),
            *(f"{100 * certified_share(row, radius):.0f}" for radius in CERTIFIED_RADII),
            *(f"{100 * row['abstained'] / row['n']:.0f}", f"{row['seconds'] / row['n']:.2g}"),
        ]
        for row in sorted(rows, key=lambda r: (r["dataset"], r["classifier"], DEFENSES.index(r["defense"]), r["sigma"]))
    ]
    return f"{markdown(head, body)}\n\n{_CERTIFICATE_NOTE}\n"


def certified_share(row: Row, radius: float) -> float:
    """The share of a certificate's images that are right with a certified radius above `radius`, 0 to 1."""
    return float(sum(each > radius for each in row["radii"]) / row["n"])

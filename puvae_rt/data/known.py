"""The named data sets and their classes."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = tuple(str(i) for i in range(10))
GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIGNS = (
    "speed limit 20",
    "speed limit 30",
    "speed limit 50",
    "speed limit 60",
    "speed limit 70",
    "speed limit 80",
    "end of speed limit 80",
    "speed limit 100",
    "speed limit 120",
    "no overtaking",
    "no overtaking by trucks",
    "priority at next intersection",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no trucks",
    "no entry",
    "danger",
    "bend left",
    "bend right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows",
    "construction",
    "traffic signal",
    "pedestrian crossing",
    "school crossing",
    "cycles crossing",
    "snow",
    "animals",
    "end of restrictions",
    "go right",
    "go left",
    "go straight",
    "go right or straight",
    "go left or straight",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by trucks",
)


@dataclass(frozen=True)
class Known:
    """A named dataset: its file in a data folder, how much of `train` validates, its classes."""

    file: str
    validation: int  # images; of GTSRB about as many, in whole tracks
    classes: tuple[str, ...]
    any_light: bool = False  # some pictures very dark: models normalise contrast, classifiers see augmented images


KNOWN = {
    "mnist": Known("mnist.npz", 10_000, DIGITS),
    "fashion_mnist": Known("fashion_mnist.npz", 10_000, GARMENTS),
    "cifar10": Known("cifar10.npz", 5_000, OBJECTS),
    "traffic_signs": Known("gtsrb.npz", 3_900, SIGNS, any_light=True),
}

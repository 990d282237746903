"""The trainings of the defenses that PuVAE is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from puvae_rt.attacks.white_box import fgsm, pgd_examples
from puvae_rt.contract import ImageContract
from puvae_rt.data import Split
from puvae_rt.models.magnet import reformer
from puvae_rt.train_baselines import main
from puvae_rt.training.artefacts import load_classifier, load_generator, load_reformer
from puvae_rt.training.baseline_stages import GAN_ADAM
from puvae_rt.training.baselines import AdversarialTask, Gan, GanTask, PgdTask, ReformerTask
from puvae_rt.training.loop import fit
from puvae_rt.training.recipes import PGD_STEPS, Schedule
from puvae_rt.training.stages import Stage, train_classifier
from puvae_rt.training.tasks import ClassifierTask
from tests.evaluation.study import NAME, save_images
from tests.tolerances import LOSS_RTOL, PIXEL_ATOL

CONTRACT = ImageContract(1, 28, 28)
SCHEDULE = Schedule(epochs=1, batch=2, learning_rate=1e-3)


def split(count: int = 16) -> Split:
    random = np.random.default_rng(0)
    return Split(random.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8), random.integers(0, 5, count))


def gan_task() -> GanTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GanTask(Gan(CONTRACT))


def weights(task: GanTask) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task.module.state_dict().items()}


def test_each_step_of_the_gan_moves_one_network_only() -> None:
    task, moved = gan_task(), []
    before = weights(task)

    def progress(*_: object) -> None:
        now = weights(task)
        moved.append({name.split(".")[0] for name in now if not torch.equal(now[name], before[name])})
        before.update(now)

    fit(task, split(), SCHEDULE, {}, progress=progress, stop_after=4, adam=GAN_ADAM)
    assert moved == [{"critic"}, {"generator"}] * 2


def test_the_critic_learns_faster_than_the_generator() -> None:
    """Adam's first step moves every weight by about the learning rate."""
    task = gan_task()
    before = weights(task)
    fit(task, split(), SCHEDULE, {}, stop_after=2, adam=GAN_ADAM)
    for part, pace in GAN_ADAM.factors.items() | {("generator", 1.0)}:
        step = max((value - before[name]).abs().max() for name, value in weights(task).items() if name.startswith(part))
        assert step == pytest.approx(pace * SCHEDULE.learning_rate, rel=0.01)


def test_what_is_kept_of_the_generator_is_a_mean_over_its_steps() -> None:
    task, seen = gan_task(), []
    fit(task, split(), SCHEDULE, {}, progress=lambda *_: seen.append(weights(task)), adam=GAN_ADAM)
    averaged = task.averaged().state_dict()
    for name, value in averaged.items():
        values = torch.stack([step[f"generator.{name}"] for step in seen])
        assert (value >= values.amin(0) - 1e-6).all() and (value <= values.amax(0) + 1e-6).all(), name
    assert not torch.equal(averaged["fc.weight"], seen[-1]["generator.fc.weight"])
    assert averaged["fc.weight"].abs().sum() > 0


def test_the_gradient_penalty_is_zero_for_slope_one() -> None:
    task = gan_task()

    class Linear(torch.nn.Module):
        """Slope `size` everywhere."""

        def __init__(self, size: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((784,), size / 28))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ self.weight

    real, fake = torch.rand(2, 3, *CONTRACT.shape)
    for size in (1.0, 3.0):
        task.module.critic = Linear(size)  # type: ignore[assignment]
        penalty = task._gradient_penalty(real, fake)
        torch.testing.assert_close(penalty, torch.tensor((size - 1) ** 2), rtol=LOSS_RTOL, atol=1e-6)


@pytest.mark.parametrize("stop_after", [3, 6])
def test_a_resumed_gan_is_bit_exact(tmp_path: Path, stop_after: int) -> None:
    whole, part, resumed = gan_task(), gan_task(), gan_task()
    checkpoint = tmp_path / "gan.safetensors"
    curve = fit(whole, split(), SCHEDULE, {}, adam=GAN_ADAM)
    fit(part, split(), SCHEDULE, {}, checkpoint, stop_after=stop_after, adam=GAN_ADAM)
    assert fit(resumed, split(), SCHEDULE, {}, checkpoint, adam=GAN_ADAM) == curve
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name
    for name, value in whole.averaged().state_dict().items():
        assert torch.equal(value, resumed.averaged().state_dict()[name]), name


def test_the_reformer_learns_to_take_noise_away() -> None:
    flat = Split(np.full((64, 1, 28, 28), 128, np.uint8), np.zeros(64, np.int64))
    task = ReformerTask(reformer(CONTRACT), CONTRACT)
    fit(task, flat, Schedule(epochs=25, batch=16, learning_rate=0.05), {})
    noisy = (0.5 + 0.1 * torch.randn(4, *CONTRACT.shape)).clamp(0, 1)
    assert (task.module(noisy) - 128 / 255).square().mean() < 0.5 * (noisy - 128 / 255).square().mean()


def test_adversarial_training_sees_the_undefended_classifiers_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    attacked, module = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 5)) for _ in range(2))
    module.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    x, y = torch.rand(3, *CONTRACT.shape), torch.tensor([0, 1, 2])
    AdversarialTask(module, attacked, 0.3).loss(x, y, fresh=True)
    torch.testing.assert_close(seen[0], torch.cat([x, fgsm(attacked, x, y, 0.3)]))


def linear() -> torch.nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(784, 5))


def test_pgd_training_sees_examples_that_raise_its_own_loss_within_a_radius_that_grows() -> None:
    seen: list[tuple[torch.Tensor, bool]] = []
    module, x, y = linear(), torch.rand(16, *CONTRACT.shape), torch.arange(16) % 5
    module.register_forward_hook(lambda module, inputs, _out: seen.append((inputs[0].detach(), module.training)))
    task, moves = PgdTask(module, epsilon=0.2, total=20), []  # full after RAMP * 20 = 3 mini-batches
    for _ in range(4):
        seen.clear()
        task.loss(x, y, fresh=True)
        assert [training for _, training in seen] == [False] * PGD_STEPS + [True]
        attacked = seen[-1][0]
        moves.append((attacked - x).abs().max().item())
        assert 0 <= attacked.min() <= attacked.max() <= 1
    assert moves == pytest.approx([0.2 / 3, 0.4 / 3, 0.2, 0.2], abs=PIXEL_ATOL)
    module.eval()
    losses = [F.cross_entropy(module(images), y) for images in (x, fgsm(module, x, y, 0.05), attacked)]
    assert losses == sorted(losses)


def test_pgd_training_withstands_what_plain_training_does_not() -> None:
    """One pixel tells two classes apart by .3 either way, and forty by .05, which an attack of .1 turns over."""
    sign = (2 * (torch.arange(64) % 2) - 1).view(-1, 1, 1, 1)
    x = 0.5 + sign * torch.tensor([0.3] + 40 * [0.05]).view(1, 1, 1, -1)
    data = Split((x * 255).round().to(torch.uint8).numpy(), (torch.arange(64) % 2).numpy())
    y, standing = torch.from_numpy(data.labels), []

    class Centered(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1) - 0.5)

    for task in (ClassifierTask(Centered(41, 2)), PgdTask(Centered(41, 2), epsilon=0.1, total=100)):
        fit(task, data, Schedule(epochs=50, batch=32, learning_rate=0.03), {})
        attacked = pgd_examples(task.module, x, y, 0.1, steps=10)
        standing.append((task.module(attacked).argmax(1) == y).float().mean().item())
    assert standing == [0, 1]


def test_a_resumed_pgd_training_is_bit_exact(tmp_path: Path) -> None:
    whole, part, resumed = (PgdTask(linear(), epsilon=0.2, total=8) for _ in range(3))
    checkpoint = tmp_path / "pgd.safetensors"
    curve = fit(whole, split(), SCHEDULE, {})
    fit(part, split(), SCHEDULE, {}, checkpoint, stop_after=3)
    assert fit(resumed, split(), SCHEDULE, {}, checkpoint) == curve
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    data = save_images(tmp_path / f"{NAME}.npz", train=48, test=5)
    places = ["--dataset", NAME, "--data", str(data), "--runs", str(tmp_path / "runs")]
    return [*places, "--epochs", "1", "--mini-batch", "8", "--baseline"]


def test_the_command_trains_each_baseline_once(tmp_path: Path, command: list[str]) -> None:
    from puvae_rt.data import load_dataset

    folder = tmp_path / "runs" / NAME
    folder.mkdir(parents=True)
    train_classifier(Stage(folder, "classifier_a"), "A", load_dataset(NAME, tmp_path / f"{NAME}.npz"), Schedule(1, 8))
    for baseline in ("magnet", "defense_gan", "adv_training", "pgd_training"):
        assert main([*command, baseline]) == 0
    assert load_reformer(folder / "magnet.safetensors")[1]["schedule"]["epochs"] == 1
    assert load_generator(folder / "defense_gan.safetensors")[0](torch.zeros(1, 128)).shape == (1, 1, 28, 28)
    assert load_classifier(folder / "adv_training_a.safetensors")[1]["epsilon"] == 0.3
    history = load_classifier(folder / "pgd_training_a.safetensors")[1]
    assert (history["epsilon"], history["pgd_steps"], history["schedule"]["epochs"]) == (0.3, PGD_STEPS, 1)
    before = {path: path.read_bytes() for path in folder.glob("*.safetensors")}
    for baseline in ("defense_gan", "pgd_training"):
        assert main([*command, baseline]) == 0
    assert before == {path: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["adv_training"], "classifier_a.safetensors"),
        (["adv_training", "--epsilon", "2"], "--epsilon 2: expected at most 1"),
        (["pgd_training", "--epsilon", "0"], "--epsilon 0: expected a finite number above 0"),
        (["magnet", "--epochs", "0"], "--epochs"),
    ],
)
def test_bad_input_is_told_in_one_line(
    command: list[str], more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *more]) == 2
    assert told in capsys.readouterr().err


def test_weights_of_another_schedule_are_not_taken_for_this_one(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "magnet"]) == 0
    assert main([*command, "magnet", "--epochs", "2"]) == 2
    assert "trained with other schedule" in capsys.readouterr().err

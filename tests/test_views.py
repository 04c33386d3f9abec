"""What an image looks like in one epoch, and that nothing but seed, epoch and index decides it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from torch import Tensor

from protege.errors import ConfigError, DataError
from protege.views import Views, ViewsConfig, normalise
from protege.views.crop import boxes
from protege.views.resize import by_pillow, by_taps

EVERY_KIND = {
    "plain": ViewsConfig.model_validate("none"),
    "crop-flip": ViewsConfig(),
    "flip": ViewsConfig(crop="none"),
    "resized": ViewsConfig(crop="resized"),
    "randaugment": ViewsConfig(policy="randaugment"),
    "trivialaugment": ViewsConfig(policy="trivialaugment"),
    "cutout": ViewsConfig(cutout=9),
    "mixup": ViewsConfig(mix="mixup", mix_concentration=0.2),
    "cutmix": ViewsConfig(mix="cutmix", mix_probability=0.5),
    "everything": ViewsConfig(crop="resized", policy="randaugment", mix="mixup"),
}


@dataclass(frozen=True)
class Set:
    """Images whose labels are their positions, so that a partner can be told."""

    pixels: Tensor
    labels: Tensor
    indices: Tensor


def images(count: int = 200, size: int = 32) -> Set:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=random, dtype=torch.uint8)
    return Set(pixels, torch.arange(count), torch.arange(count))


def cut(image: Tensor, number: int, padding: int, flips: int) -> Tensor:
    """The recipe of every CIFAR paper, literally: black border, crop, then mirror."""
    row, column = divmod(number // flips, 2 * padding + 1)
    height, width = image.shape[1:]
    bordered = torch.zeros(3, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
    bordered[:, padding : padding + height, padding : padding + width] = image
    crop = bordered[:, row : row + height, column : column + width]
    return crop.flip(2) if number % flips else crop


def test_padding_4_and_flip_make_162_views_and_all_are_different() -> None:
    views = Views(ViewsConfig(), 32)
    assert views.count == 162
    made = views.render_numbered(images(1).pixels.expand(162, -1, -1, -1), torch.arange(162))
    assert made.dtype == torch.uint8
    assert len({one.numpy().tobytes() for one in made}) == 162


@pytest.mark.parametrize(
    ("padding", "flip", "count"),
    [(4, True, 162), (4, False, 81), (1, True, 18), (0, True, 2), (0, False, 1)],
)
@pytest.mark.parametrize("size", [32, 7])
def test_view_numbers_mean_crop_then_flip(padding: int, flip: bool, count: int, size: int) -> None:
    views = Views(ViewsConfig(padding=padding, flip=flip), size)
    assert views.count == count
    stored = images(count, size).pixels
    literal = [cut(image, number, padding, 1 + flip) for number, image in enumerate(stored)]
    assert torch.equal(views.render_numbered(stored, torch.arange(count)), torch.stack(literal))


def test_view_80_is_the_image_itself_and_81_its_mirror() -> None:
    stored = images(1).pixels
    views = Views(ViewsConfig(), 32)
    assert torch.equal(views.render_numbered(stored, torch.tensor([80])), stored)
    assert torch.equal(views.render_numbered(stored, torch.tensor([81])), stored.flip(-1))


def test_flips_alone_make_2_views_and_no_augmentation_1() -> None:
    stored = images(2).pixels
    flips, plain = Views(ViewsConfig(crop="none"), 32), Views(ViewsConfig.model_validate("none"), 32)
    assert (flips.count, plain.count) == (2, 1)
    second_mirrored = torch.stack([stored[0], stored[1].flip(-1)])
    assert torch.equal(flips.render_numbered(stored, torch.tensor([0, 1])), second_mirrored)
    assert torch.equal(plain.render_numbered(stored, torch.tensor([0, 0])), stored)


def test_every_view_is_equally_likely() -> None:
    views, indices = Views(ViewsConfig(), 32), torch.arange(50_000)
    counts = sum(torch.bincount(views.numbers(0, epoch, indices), minlength=162) for epoch in range(4))
    assert isinstance(counts, Tensor) and len(counts) == 162
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_rendered_images_are_the_views_whose_numbers_are_told() -> None:
    stored, positions = images(), torch.tensor([7, 3, 190])
    views = Views(ViewsConfig(), 32)
    rendered = views.render(stored, positions, seed=1, epoch=2)
    assert torch.equal(rendered.numbers, views.numbers(1, 2, positions))
    assert torch.equal(rendered.pixels, views.render_numbered(stored.pixels[positions], rendered.numbers))
    assert rendered.partners is None and rendered.share is None


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_an_image_is_the_same_in_any_batch_and_any_order(kind: str) -> None:
    stored, views = images(), Views(EVERY_KIND[kind], 32)
    positions = torch.arange(64) * 3
    batch = views.render(stored, positions, seed=5, epoch=9)
    backwards = views.render(stored, positions.flip(0), seed=5, epoch=9)
    assert torch.equal(backwards.pixels.flip(0), batch.pixels)
    for place in (0, 17, 63):
        alone = views.render(stored, positions[place : place + 1], seed=5, epoch=9)
        assert torch.equal(alone.pixels[0], batch.pixels[place])
        if batch.partners is not None and batch.share is not None:
            assert alone.partners is not None and alone.partners[0] == batch.partners[place]
            assert alone.share is not None and alone.share[0] == batch.share[place]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_an_image_is_the_same_in_a_part_of_the_training_set(kind: str) -> None:
    """Its index in the full set counts, not where it is stored. Only partners have to be others, but not how much they get."""
    stored, views = images(), Views(EVERY_KIND[kind], 32)
    kept = torch.tensor([11, 150, 42])
    part = Set(stored.pixels[kept], stored.labels[kept], stored.indices[kept])
    there, here = views.render(stored, kept, 0, 1), views.render(part, torch.arange(3), 0, 1)
    assert torch.equal(here.numbers, there.numbers)
    if here.share is None or there.share is None:
        assert torch.equal(here.pixels, there.pixels)
    else:
        assert torch.equal(here.share, there.share)


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if kind != "plain"])
def test_seeds_and_epochs_give_other_pixels_unless_the_seed_is_fixed(kind: str) -> None:
    stored, config = images(), EVERY_KIND[kind]
    positions = torch.arange(64)
    before = Views(config, 32).render(stored, positions, seed=0, epoch=0)
    first = before.pixels
    for seed, epoch in ((1, 0), (0, 1)):
        other = Views(config, 32).render(stored, positions, seed, epoch)
        assert not torch.equal(other.pixels, first)
        assert other.share is None or before.share is None or not torch.equal(other.share, before.share)
    fixed = Views(config.model_copy(update={"seed": 0}), 32)
    assert torch.equal(fixed.render(stored, positions, seed=1, epoch=0).pixels, first)
    assert torch.equal(fixed.numbers(1, 0, positions), Views(config, 32).numbers(0, 0, positions))


@pytest.mark.parametrize("kind", ["crop-flip", "cutmix"])
def test_a_rendered_batch_moves_whole(kind: str) -> None:
    rendered = Views(EVERY_KIND[kind], 32).render(images(), torch.arange(8), 0, 0)
    moved = rendered.to("meta")
    for part in ("pixels", "numbers", "partners", "share"):
        before, after = getattr(rendered, part), getattr(moved, part)
        assert (before is None) == (after is None)
        assert after is None or (after.is_meta and after.shape == before.shape)


def test_lower_precision_and_inference_change_no_pixel() -> None:
    stored, views, positions = images(), Views(EVERY_KIND["everything"], 32), torch.arange(64)
    first = views.render(stored, positions, 0, 0).pixels
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(views.render(stored, positions, 0, 0).pixels, first)


def test_a_stream_has_no_count_and_its_number_is_the_epoch() -> None:
    for kind in ("resized", "randaugment", "mixup"):
        views = Views(EVERY_KIND[kind], 32)
        assert views.count is None
        assert views.render(images(), torch.arange(3), seed=0, epoch=12).numbers.tolist() == [12, 12, 12]
        with pytest.raises(ConfigError, match="are a stream without numbers"):
            views.render_numbered(images(1).pixels, torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_nothing_waits_for_the_device(kind: str) -> None:
    """Tensors without values cannot be asked for one, nor tell a shape that depends on one."""
    stored = Set(*(tensor.to("meta") for tensor in (images().pixels, images().labels, images().indices)))
    rendered = Views(EVERY_KIND[kind], 32).render(stored, torch.arange(16, device="meta"), seed=0, epoch=0)
    assert normalise(rendered.pixels, (0.5,) * 3, (0.2,) * 3).shape == (16, 3, 32, 32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_gpu_gives_the_same_pixels(kind: str) -> None:
    stored, views = images(), Views(EVERY_KIND[kind], 32)
    there = Set(stored.pixels.cuda(), stored.labels.cuda(), stored.indices.cuda())
    positions = torch.arange(150)
    ours, theirs = views.render(stored, positions, 0, 3), views.render(there, positions.cuda(), 0, 3)
    assert torch.equal(theirs.pixels.cpu(), ours.pixels)
    assert torch.equal(theirs.numbers.cpu(), ours.numbers)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_stored_bytes_travel_and_views_are_drawn_where_they_are_needed(kind: str) -> None:
    """The device "meta" computes nothing, but tells where a result would lie."""
    made = Views(EVERY_KIND[kind], 32).render(images(50), torch.arange(20), 0, 3, device="meta")
    assert made.pixels.device.type == made.numbers.device.type == "meta"
    assert made.pixels.shape == (20, 3, 32, 32)
    assert made.share is None or made.share.device.type == "meta"


def test_mixup_blends_two_images_each_in_its_own_view() -> None:
    stored, positions = images(), torch.arange(100)
    rendered = Views(EVERY_KIND["mixup"], 32).render(stored, positions, 0, 4)
    assert rendered.partners is not None and rendered.share is not None
    crops = Views(ViewsConfig(), 32)
    own = crops.render(stored, positions, 0, 4).pixels.double()
    others = crops.render(stored, rendered.partners, 0, 4).pixels.double()
    share = rendered.share.double()[:, None, None, None]
    assert rendered.pixels.dtype == torch.float32
    assert (rendered.pixels - (share * own + (1 - share) * others)).abs().max() < 1e-4  # of 255


def test_cutmix_pastes_one_box_and_tells_the_exact_share() -> None:
    stored = images()
    rendered = Views(ViewsConfig(crop="none", flip=False, mix="cutmix"), 32).render(stored, torch.arange(200), 0, 4)
    assert rendered.partners is not None and rendered.share is not None
    pasted = (rendered.pixels != stored.pixels).any(1)  # [B, 32, 32]; noise differs from noise
    assert torch.equal(torch.where(pasted[:, None], stored.pixels[rendered.partners], stored.pixels), rendered.pixels)
    area = pasted.sum((1, 2))
    assert torch.equal(pasted.any(2).sum(1) * pasted.any(1).sum(1), area)
    assert torch.equal(rendered.share, 1 - area / 1024)
    assert 0.55 < rendered.share.mean() < 0.7  # Beta(1, 1) has 0.5, and boxes lose what sticks out
    rows, columns = pasted[area > 0].any(2).double(), pasted[area > 0].any(1).double()
    middles = torch.stack([(which * torch.arange(32)).sum(1) / which.sum(1) for which in (rows, columns)])
    assert torch.corrcoef(middles)[0, 1].abs() < 0.25  # anywhere, not along the diagonal; sd 0.07


def test_cutmix_pastes_from_the_partners_own_view() -> None:
    stored, positions, crops = images(), torch.arange(200), Views(ViewsConfig(), 32)
    rendered = Views(ViewsConfig(mix="cutmix"), 32).render(stored, positions, 0, 4)
    assert rendered.partners is not None
    own, others = (crops.render(stored, which, 0, 4).pixels for which in (positions, rendered.partners))
    assert ((rendered.pixels == own) | (rendered.pixels == others)).all()
    assert (rendered.pixels == others).all((1, 2, 3)).any() or (rendered.pixels != own).any()


def test_cutout_covers_one_square_around_any_pixel_and_nothing_else() -> None:
    stored, plain = images(2000), ViewsConfig(crop="none", flip=False)
    views = Views(plain.model_copy(update={"cutout": 9}), 32)
    shown = views.render(stored, torch.arange(2000), 0, 4).pixels
    covered = (shown != stored.pixels).any(1)
    assert (shown.permute(0, 2, 3, 1)[covered] == 128).all()
    rows, columns = covered.any(2), covered.any(1)
    inside = rows[:, :, None] & columns[:, None, :]
    assert (covered == inside).double().mean() > 0.9999  # noise is grey itself once in 2 ** 24
    for which in (rows, columns):
        sides = which.sum(1)
        assert sides.max() == 9 and sides.min() == 5  # a middle in the corner leaves 4 and itself
        assert 0.7 < (sides == 9).double().mean() < 0.8  # 24 of 32 middles
    first, last = rows.double().argmax(1), columns.double().argmax(1)
    assert torch.corrcoef(torch.stack([first.double(), last.double()]))[0, 1].abs() < 0.08  # sd .022
    other = views.render(stored, torch.arange(2000), 0, 5).pixels
    assert not torch.equal(other, shown)  # elsewhere in the next epoch


def test_what_is_covered_anywhere_is_a_stream_of_views_and_must_leave_something() -> None:
    views = Views(ViewsConfig(cutout=12), 32)
    assert views.count is None and "cutout12" in views.identity() and views.identity(0) != views.identity(1)
    with pytest.raises(ConfigError, match=r"views\.cutout is 32, but images have 32 pixels a side"):
        Views(ViewsConfig(cutout=32), 32)


@pytest.mark.parametrize("concentration", [0.2, 1.0, 3.0])
def test_shares_are_beta_distributed(concentration: float) -> None:
    tiny = Set(torch.zeros(20_000, 3, 1, 1, dtype=torch.uint8), torch.arange(20_000), torch.arange(20_000))
    views = Views(ViewsConfig(crop="none", mix="mixup", mix_concentration=concentration), 1)
    share = views.render(tiny, torch.arange(20_000), 0, 0).share
    assert share is not None
    tenths = stats.beta(concentration, concentration).ppf([tenth / 10 for tenth in range(11)])
    counts = torch.bincount(torch.bucketize(share, torch.tensor(tenths[1:-1], dtype=torch.float32)), minlength=10)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_partners_are_others_of_the_whole_set_and_equally_likely() -> None:
    stored = images(11, 1)
    views = Views(ViewsConfig(crop="none", mix="mixup"), 1)
    drawn = [views.render(stored, torch.tensor([4]), 0, epoch).partners for epoch in range(2000)]
    counts = torch.bincount(torch.cat([one for one in drawn if one is not None]), minlength=11)
    assert counts[4] == 0
    assert stats.chisquare(counts[torch.arange(11) != 4].numpy()).pvalue > 1e-3


def test_a_lone_image_is_its_own_partner() -> None:
    rendered = Views(ViewsConfig(mix="cutmix"), 32).render(images(1), torch.tensor([0]), 0, 0)
    assert rendered.partners is not None and rendered.partners.tolist() == [0]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_left_unmixed_keep_their_pixels_and_their_whole_label(kind: str) -> None:
    stored, positions = images(), torch.arange(200)
    config = EVERY_KIND[kind].model_copy(update={"mix_probability": 0.3, "mix_concentration": 1.0})
    rendered = Views(config, 32).render(stored, positions, 0, 0)
    assert rendered.share is not None
    whole = rendered.share == 1
    assert 110 < whole.sum() < 170  # 140 expected, sd 6.5; CutMix boxes can be empty
    crops = Views(ViewsConfig(), 32).render(stored, positions, 0, 0).pixels
    assert torch.equal(rendered.pixels[whole], crops[whole].to(rendered.pixels.dtype))


def test_random_boxes_fit_and_keep_to_scale_and_ratio() -> None:
    box = boxes(0, 0, torch.arange(20_000), (224, 224), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    top, left, height, width = box.double().unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 224).all() and (left + width <= 224).all()
    area, ratio = height * width / 224**2, width / height
    assert 0.078 < area.min() < 0.09 and 0.97 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.35
    assert abs(float(ratio.log().median())) < 0.01
    small = area < 0.5  # of which all fit: there areas and places are even
    assert stats.kstest(area[small].numpy(), stats.uniform(0.08, 0.42).cdf).pvalue > 1e-3
    assert stats.kstest(((top + 0.5) / (225 - height))[small].numpy(), "uniform").pvalue > 1e-4


def test_a_box_that_never_fits_becomes_the_middle() -> None:
    box = boxes(0, 0, torch.arange(5), (32, 64), scale=(1, 1), ratio=(1, 1))
    assert box.tolist() == [[0, 16, 32, 32]] * 5


def noise_and_blobs(count: int, side: int) -> Tensor:
    stored = images(count, side).pixels
    stored[::2] = F.avg_pool2d(stored[::2].float(), 5, 1, 2).to(torch.uint8)
    return stored


@pytest.mark.parametrize(("side", "size", "most"), [(40, 40, 0), (40, 80, 0), (96, 96, 0), (40, 32, 1), (40, 10, 1)])
def test_resizing_a_box_equals_pillow(side: int, size: int, most: int) -> None:
    """To the bit where boxes are not larger than what they become: else Pillow's versions differ in which way goes first."""
    stored = noise_and_blobs(60, side)
    box = boxes(0, 0, torch.arange(60), (side, side), scale=(0.02, 1), ratio=(0.5, 2))
    for resize in (by_pillow, by_taps):
        for image, (top, left, height, width), one in zip(
            stored, box.tolist(), resize(stored, box, size, torch.zeros(60)), strict=True
        ):
            cutout = image[:, top : top + height, left : left + width].permute(1, 2, 0).contiguous()
            pillow = Image.fromarray(cutout.numpy()).resize((size, size), Image.Resampling.BILINEAR)
            theirs = torch.tensor(list(pillow.tobytes())).view(size, size, 3).permute(2, 0, 1)
            assert (theirs - one.int()).abs().max() <= most


@pytest.mark.parametrize(("side", "size"), [(32, 32), (96, 64), (20, 50), (128, 8)])
def test_a_resized_box_is_the_same_on_every_device(side: int, size: int) -> None:
    """A CPU leaves it to Pillow, a GPU sums the same whole numbers; both can be had here."""
    stored = noise_and_blobs(100, side)
    flipped = torch.arange(100) % 2
    box = boxes(3, 1, torch.arange(100), (side, side), scale=(0.01, 1), ratio=(0.3, 3))
    assert torch.equal(by_pillow(stored, box, size, flipped), by_taps(stored, box, size, flipped))


def test_resized_crops_bring_other_sizes_to_the_networks_and_mirror_every_second() -> None:
    left_dark = torch.zeros(1000, 3, 20, 20, dtype=torch.uint8)
    left_dark[..., 10:] = 255
    stored = Set(left_dark, torch.arange(1000), torch.arange(1000))
    views = Views(ViewsConfig(crop="resized", scale=(1, 1), ratio=(1, 1)), 32)
    pixels = views.render(stored, torch.arange(1000), 0, 0).pixels
    assert pixels.shape == (1000, 3, 32, 32)
    assert 430 < (pixels[:, 0, 0, 0] == 255).sum() < 570  # sd 16


def test_images_of_another_size_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="28 x 28, but these views are for 32 x 32"):
        Views(ViewsConfig(), 32).render(images(size=28), torch.arange(2), 0, 0)


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    pixels, mean, std = images(4).pixels, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    expected = (pixels.double() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.01)):
        made = normalise(pixels, mean, std, dtype)
        assert made.dtype == dtype
        assert (made.double() - expected).abs().max() < tolerance
    assert normalise(pixels, mean, std).is_contiguous(memory_format=torch.channels_last)
    assert normalise(pixels, mean, std, channels_last=False).is_contiguous()
    assert torch.equal(normalise(pixels.float(), mean, std), normalise(pixels, mean, std))


def test_the_border_is_black_and_not_the_mean() -> None:
    corner = Views(ViewsConfig(), 32).render_numbered(images(1).pixels, torch.tensor([0]))
    assert normalise(corner, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))[0, :, 0, 0].tolist() == [-2, -2, -2]

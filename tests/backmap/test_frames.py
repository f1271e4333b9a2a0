"""Frames on C-alphas: right-handed, moving with the protein, defined at ends, gaps and straight lines."""

import pytest
import torch

from flashmd.backmap.frames import local_frames, to_local, to_world
from tests.backmap.conftest import helix


def rotation(seed: int) -> torch.Tensor:
    """A random proper rotation, float64."""
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    return matrix * torch.linalg.det(matrix)


def joined(pattern: str) -> torch.Tensor:
    return torch.tensor([letter == "-" for letter in pattern])


@pytest.mark.parametrize("pattern", ["-------.", "--.----.", "-.-.-.-.", ".......-"[::-1], "........"])
def test_frames_rotate_with_the_protein(pattern: str) -> None:
    ca = helix(8).double()[None] + 0.01 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    axes, shapes = local_frames(ca, joined(pattern))
    turned = rotation(1)
    moved_axes, moved_shapes = local_frames(ca @ turned.T + 3.0, joined(pattern))
    assert torch.equal(shapes, moved_shapes)
    if "." not in pattern[:-1] or pattern.count("-"):
        bonded = joined(pattern) | torch.cat([torch.tensor([False]), joined(pattern)[:-1]])
        assert torch.allclose(turned @ axes[0, bonded], moved_axes[0, bonded], atol=1e-9)
    assert torch.allclose(torch.linalg.det(moved_axes), torch.ones(1, 8, dtype=torch.float64))


def test_mirrored_trace_does_not_have_mirrored_frames() -> None:
    """The frames stay right-handed, so that a mirrored residue has other local coordinates."""
    ca = helix(6).double()[None]
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    axes, _ = local_frames(ca, joined("-----."))
    mirrored, _ = local_frames(ca @ mirror, joined("-----."))
    assert torch.allclose(torch.linalg.det(mirrored), torch.ones(1, 6, dtype=torch.float64))
    assert not torch.allclose(mirror @ axes, mirrored, atol=0.1)


def test_straight_and_short_traces_have_orthonormal_frames() -> None:
    line = torch.arange(5.0)[:, None] * torch.tensor([0.0, 0.38, 0.0])
    for ca, pattern in ((line, "----."), (line[:2], "-."), (line[:1], "."), (line[:3], ".-.")):
        axes, _ = local_frames(ca[None], joined(pattern))
        identity = torch.eye(3).expand_as(axes)
        assert torch.allclose(axes.transpose(-1, -2) @ axes, identity, atol=1e-5)


def test_classes_of_shape() -> None:
    stretched = torch.tensor([[0.0, 0, 0], [0.34, 0.17, 0], [0.68, 0, 0], [1.02, 0.17, 0]])
    assert local_frames(helix(4)[None], joined("---."))[1].tolist() == [[3, 0, 0, 4]]
    assert local_frames(stretched[None], joined("---."))[1].tolist() == [[3, 2, 2, 4]]
    assert local_frames(stretched[None], joined("-..."))[1].tolist() == [[3, 4, 5, 5]]


def test_local_and_back() -> None:
    ca = helix(5)[None]
    axes, _ = local_frames(ca, joined("----."))
    positions = torch.randn(1, 5, 14, 3, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(to_world(to_local(positions, ca, axes), ca, axes), positions, atol=1e-6)

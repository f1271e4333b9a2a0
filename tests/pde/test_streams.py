"""Random streams: keys differ, numbers follow their names alone."""

from __future__ import annotations

import torch

from flashmd.pde.sobol import sobol_increments
from flashmd.pde.streams import child_streams, normals, point_streams, signs, uniforms

F64 = torch.float64


def test_keys_of_a_large_tree_differ() -> None:
    t, x = torch.zeros(50, dtype=F64), torch.arange(100.0, dtype=F64).reshape(50, 2)
    roots = point_streams(t, x)
    children = torch.cat([child_streams(roots, label, 0, 100).flatten() for label in range(4)])
    everything = torch.cat([roots, children, child_streams(children, 0, 0, 5).flatten()])
    assert everything.unique().numel() == everything.numel()


def test_a_child_is_named_by_its_number() -> None:
    roots = point_streams(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    assert torch.equal(child_streams(roots, 3, 0, 10)[:, 4:7], child_streams(roots, 3, 4, 3))
    assert torch.equal(
        point_streams(torch.zeros(1), torch.tensor([[-0.0]])), point_streams(torch.zeros(1), torch.zeros(1, 1))
    )


def test_noise_of_neighbouring_keys_is_uncorrelated() -> None:
    keys = child_streams(torch.tensor([1, 2]), 0, 0, 20_000)
    first, second = (normals(0, row, 0, 2, antithetic=False) for row in keys)
    values = torch.cat([first, second], 1)
    # Correlations of 20,000 numbers have a deviation of 0.007.
    assert (torch.corrcoef(values.T) - torch.eye(4)).abs().max() < 0.03
    mirrored = normals(0, keys[0], 0, 2, antithetic=True)
    assert torch.equal(mirrored[0::2], -mirrored[1::2])
    assert abs(float(uniforms(0, keys[0], 0).mean()) - 0.5) < 0.01
    assert set(signs(0, keys[0], 0, 2).flatten().tolist()) == {-1.0, 1.0}


def test_nets_are_brownian_increments() -> None:
    increments = sobol_increments(3, torch.arange(400), 32, 5, 2)
    assert increments.shape == (400 * 32, 5, 2)
    columns = increments.reshape(-1, 10)
    covariance = columns.T @ columns / len(columns)
    assert (covariance - torch.eye(10)).abs().max() < 0.05
    # The mean over a net is far more exact than over independent paths, and replicates differ.
    means = increments.reshape(400, 32, 5, 2).sum(2).mean(1)
    assert means.std() < 0.2 * (5.0 / 32.0) ** 0.5
    assert means.unique().numel() == means.numel()

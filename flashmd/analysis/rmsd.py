r"""Root-mean-square deviation from a reference after optimal superposition.

The rotation is found by the Kabsch algorithm from a singular value decomposition of the 3 x 3 covariance matrix, for
all frames at once. Only proper rotations are allowed: a mirror image never counts as the same structure.
"""

from __future__ import annotations

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, as_frames, as_structure

_CHUNK = 20_000  # frames per pass, bounds the memory of long trajectories


def superpose(positions: ArrayLike, reference: ArrayLike) -> FloatArray:
    r"""Superpose every frame on a reference by a translation and a proper rotation.

    With centred frames :math:`X` and reference :math:`Y` (rows are atoms) and the decomposition
    :math:`X^\mathsf{T} Y = U S V^\mathsf{T}`, the rotation is
    :math:`R = U\,\mathrm{diag}(1, 1, \det U \det V)\,V^\mathsf{T}` and the fitted frame :math:`X R`.

    ========================  =====================
    symbol                    variable
    ========================  =====================
    :math:`X`, :math:`Y`      `frames`, `target`
    :math:`U`, :math:`V^T`    `left`, `right`
    :math:`R`                 `rotation`
    ========================  =====================

    Source: W. Kabsch, Acta Cryst. A 32, 922 (1976), doi:10.1107/S0567739476001873, and A 34, 827 (1978),
    doi:10.1107/S0567739478001680 for the sign that excludes reflections.

    Args:
        positions: [n_frames, n_atoms, 3] or [n_atoms, 3], nm.
        reference: [n_atoms, 3], nm.

    Returns:
        [n_frames, n_atoms, 3], nm, the fitted frames, on the reference.

    Raises:
        ValueError: shapes do not fit, or a coordinate is not finite.

    Example:
        >>> import numpy as np
        >>> structure = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> turned = structure @ np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 3.0
        >>> bool(np.allclose(superpose(turned, structure)[0], structure))
        True
    """
    frames = as_frames(positions, "positions")
    target = as_structure(reference, "reference", frames.shape[1])
    centre = target.mean(axis=0)
    target = target - centre
    fitted = np.empty_like(frames)
    for begin in range(0, frames.shape[0], _CHUNK):
        chunk = frames[begin : begin + _CHUNK]
        chunk = chunk - chunk.mean(axis=1, keepdims=True)
        left, _, right = np.linalg.svd(chunk.transpose(0, 2, 1) @ target)
        left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]
        rotation = left @ right
        fitted[begin : begin + _CHUNK] = chunk @ rotation + centre
    return fitted


def rmsd(positions: ArrayLike, reference: ArrayLike) -> FloatArray:
    """Return the RMSD of every frame from a reference after superposition (`superpose`).

    Args:
        positions: [n_frames, n_atoms, 3] or [n_atoms, 3], nm.
        reference: [n_atoms, 3], nm.

    Returns:
        [n_frames], nm.

    Raises:
        ValueError: shapes do not fit, or a coordinate is not finite.

    Example:
        >>> import numpy as np
        >>> pair = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> float(rmsd(1.2 * pair, pair).round(6)[0])
        0.1
    """
    fitted = superpose(positions, reference)
    target = as_structure(reference, "reference")
    return np.asarray(np.sqrt(((fitted - target) ** 2).sum(axis=2).mean(axis=1)))

"""Devices of torch by name, refused at once where this machine has none."""

from __future__ import annotations

import torch

from flashmd.errors import message


def open_device(
    name: str | torch.device,
    *,
    what: str = "`device`",
    fix: str = "pass `device='cpu'`, or install a torch that finds the device",
) -> torch.device:
    """Return a device on which a tensor can be made.

    Args:
        name: such as "cpu", "cuda" or "cuda:1".
        what: how the error calls the choice.
        fix: what the error advises.

    Raises:
        ValueError: torch does not know or find the device.

    Example:
        >>> open_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        got = f"{str(name)!r} ({str(error).splitlines()[0]})"
        raise ValueError(message(what, "a device that torch can use", got, fix)) from None
    return device

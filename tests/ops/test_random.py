from __future__ import annotations

import math

import pytest
import torch

from flashmd.ops import philox_normal, philox_uniform
from flashmd.ops.reference import philox_bits, philox_words

FUNCTIONS = {"normal": philox_normal, "uniform": philox_uniform}
# Known answers for philox4x32-10 published with Random123 (kat_vectors): counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
N_SAMPLES = 200_000


@pytest.fixture(params=list(FUNCTIONS))
def function(request):
    return FUNCTIONS[request.param]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_reference_reproduces_published_vectors(counter, key, expected):
    assert tuple(philox_words(torch.tensor(counter), key).tolist()) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_kernel_reproduces_published_vectors(counter, key, expected):
    """The words come back exactly from float64 uniforms, (word + 1/2) / 2^32, in the column of their block."""
    block, low = counter[0] & 0xFFFF, counter[0] >> 16
    stream = torch.tensor([(counter[3] << 32 | counter[2]) - (counter[3] >> 31 << 64)])
    row = philox_uniform(key[1] << 32 | key[0], stream, counter[1] << 16 | low, 4 * block + 4, dtype=torch.float64)
    words = (row[0, 4 * block :] * 2.0**32 - 0.5).to(torch.int64)
    assert tuple(words.tolist()) == expected


@pytest.mark.parametrize("n_columns", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("seed", [0, 2**64 - 3, -5, 2**63])
def test_kernel_and_reference_agree(function, seed, n_columns, device):
    stream = torch.tensor([0, 1, -1, 2**62, -(2**63), 12345678901, 7], device=device)
    for counter in (0, 1, 2**32 + 5, 2**48 - 1):
        single = function(seed, stream, counter, n_columns)
        double = function(seed, stream, counter, n_columns, dtype=torch.float64)
        expected = function(seed, stream, counter, n_columns, dtype=torch.float64, backend="reference")
        torch.testing.assert_close(double, expected, rtol=0, atol=1e-12)
        assert torch.equal(
            single, double.float().clamp(max=1 - 2**-24) if function is philox_uniform else double.float()
        )


def test_normals_agree_with_the_standard_functions_over_the_whole_range():
    """Half a million words through the kernel's own logarithm, sine and cosine."""
    stream = torch.arange(131072)
    found = philox_normal(3, stream, 9, 4, dtype=torch.float64)
    words = philox_bits(3, stream, 9, 1)
    radius = torch.sqrt(-2 * torch.log1p((words[:, ::2] + 1 - 2**32).double() * 2.0**-32))
    angle = words[:, 1::2].double() * (2 * math.pi / 2**32)
    expected = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1).flatten(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-14)


def test_rows_do_not_depend_on_the_batch_or_on_threads(function):
    stream = torch.arange(5000) * 977 - 100
    whole = function(11, stream, 4, 3)
    for rows in ([0], [17], list(range(3, 40)), [4999, 0, 20]):
        assert torch.equal(function(11, stream[rows], 4, 3), whole[rows])
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(function(11, stream, 4, 3), whole)
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(function(11, torch.stack([stream, stream], 1)[:, 0], 4, 3), whole)


def test_seed_stream_counter_and_column_all_matter(function):
    stream = torch.tensor([5, 6, 5 + 2**32])
    base = function(1, stream, 2, 8, dtype=torch.float64)
    others = [
        function(s, stream, c, 8, dtype=torch.float64) for s, c in ((2, 2), (1 + 2**32, 2), (1, 3), (1, 2**40 + 2))
    ]
    everything = torch.cat([base, *others]).flatten()
    assert everything.unique().numel() == everything.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_moments(dtype):
    sample = philox_normal(2, torch.arange(N_SAMPLES), 1, 3, dtype=dtype).double()
    # Standard errors of the first four moments of N samples: 1, sqrt 2, sqrt 15, sqrt 96 over sqrt N; five of them.
    for power, moment, spread in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        bound = 5 * math.sqrt(spread / N_SAMPLES)
        assert (sample.pow(power).mean(0) - moment).abs().max() < bound, power
    correlation = sample.T @ sample / N_SAMPLES - torch.eye(3, dtype=torch.float64)
    assert correlation.abs().max() < 5 * math.sqrt(2.0 / N_SAMPLES)
    following = philox_normal(2, torch.arange(N_SAMPLES), 2, 3, dtype=dtype).double()
    assert ((sample * following).mean(0)).abs().max() < 5 / math.sqrt(N_SAMPLES)
    assert (sample[1:] * sample[:-1]).mean(0).abs().max() < 5 / math.sqrt(N_SAMPLES)


def test_normal_distribution_function():
    """Kolmogorov-Smirnov distance: above 1.95 / sqrt(N) in one of a thousand seeds."""
    sample = philox_normal(5, torch.arange(N_SAMPLES), 0, 1, dtype=torch.float64)[:, 0].sort().values
    expected = torch.special.ndtr(sample)
    steps = torch.arange(N_SAMPLES + 1, dtype=torch.float64) / N_SAMPLES
    distance = torch.maximum((expected - steps[:-1]).abs().max(), (expected - steps[1:]).abs().max())
    assert float(distance) < 1.95 / math.sqrt(N_SAMPLES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_fill_the_open_interval(dtype):
    sample = philox_uniform(8, torch.arange(N_SAMPLES), 3, 4, dtype=dtype)
    assert float(sample.min()) > 0.0
    assert float(sample.max()) < 1.0
    counts = torch.histc(sample.double().flatten(), 64, 0.0, 1.0)
    chi_squared = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert 63 - 5 * math.sqrt(2 * 63) < chi_squared < 63 + 5 * math.sqrt(2 * 63)


def test_no_rows(function):
    assert function(1, torch.zeros(0, dtype=torch.int64), 0, 3).shape == (0, 3)


@pytest.mark.parametrize("name", ["philox_normal", "philox_uniform"])
def test_opcheck(name):
    operator = getattr(torch.ops.flashmd, name).default
    for float64 in (False, True):
        torch.library.opcheck(operator, (1, torch.arange(5), 2, 3, float64))


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_messages(function, backend):
    stream = torch.arange(2)
    with pytest.raises(ValueError, match=r"`stream`: expected int64 of shape \(n,\), got torch.int32 of shape \(2,\)"):
        function(1, stream.int(), 0, 3, backend=backend)
    with pytest.raises(ValueError, match=r"`counter`: expected 0 to 2\^48 - 1, got -1"):
        function(1, stream, -1, 3, backend=backend)
    with pytest.raises(ValueError, match=r"`n_columns`: expected 1 to 2\^18, got 0"):
        function(1, stream, 0, 0, backend=backend)
    with pytest.raises(ValueError, match="`seed`: expected an integer of 64 bits, got 18446744073709551616"):
        function(2**64, stream, 0, 3, backend=backend)
    with pytest.raises(TypeError, match="`dtype`: expected torch.float32 or torch.float64, got torch.float16"):
        function(1, stream, 0, 3, dtype=torch.float16, backend=backend)

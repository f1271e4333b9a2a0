"""Regions of the Ramachandran plot that hold 99.5 % of the residues of 628 chains of crystal structures.

Made by `examples/data_generation/ramachandran.py`. A row stands for ten degrees of phi, from -180 on; its nine
hexadecimal digits are 36 bits, one for each ten degrees of psi, from -180 on, the first bit foremost.
"""

REGIONS: dict[str, tuple[str, ...]] = {
    "general": (
        *("e00007fff", "f007fffff", "f01ffffff", "f07ffffff", "fbfffffff", "fffffffff"),
        *("fffffffff", "fffffffff", "fffffffff", "fbfffffff", "f1fffffff", "e1fffffff"),
        *("e1fffffff", "80fff07ff", "00ffe01ff", "007f801fc", "003f000f0", "000000000"),
        *("000000000", "000000000", "00000fc00", "00001fe00", "0e007ff00", "0f00fff00"),
        *("0e3ffff80", "001ffff00", "000fff000", "0001f8000", "000000000", "000000000"),
        *("000000000", "000000000", "000000000", "000000000", "80000003f", "c000000ff"),
    ),
    "glycine": (
        *("ff0f001ff", "ff801e0ff", "ffc07f8ff", "ffc3ff8ff", "ffe3ffdff", "fffffffff"),
        *("fffffffff", "fffffffff", "fffffffff", "fffffffff", "fffffffff", "fdfffffff"),
        *("f0fffffff", "e0ffe03ff", "807fc007f", "003f0000e", "001c00000", "000800000"),
        *("000000000", "000003c00", "7e000fe00", "ff007fe01", "ffc0ffe03", "fffffff0f"),
        *("fffffffff", "fffffffff", "fffffffff", "fffffffff", "fffffffff", "fffffffff"),
        *("fffffffff", "fffffffff", "ffdffffff", "ff9ffa1ff", "ff9fc01ff", "ff0f801ff"),
    ),
    "proline": (
        *("000000000", "000000000", "000000000", "000000000", "000000000", "00000000c"),
        *("c000fe03f", "e003fffff", "f00ffffff", "f8fffffff", "f8fffffff", "f0fffffff"),
        *("f0fffffff", "c0fffc7ff", "80fff03ff", "007fc03fe", "007e00078", "001000000"),
        *("000000000", "000000000", "000000000", "000000000", "000000000", "000000000"),
        *("000000000", "000000000", "000000000", "000000000", "000000000", "000000000"),
        *("000000000", "000000000", "000000000", "000000000", "000000000", "000000000"),
    ),
    "before proline": (
        *("c00001fff", "c03003fff", "c03807fff", "c03e0ffff", "c03f0ffff", "c03e0ffff"),
        *("c03e1ffff", "c0ff3ffff", "c0fff9fff", "c0ff80fff", "c0ff807ff", "c07f803ff"),
        *("80ff803ff", "80ff803ff", "007f803ff", "007f001fe", "003c001f8", "003000000"),
        *("000000000", "000001c00", "000003e00", "000007f00", "000007f00", "000007fe7"),
        *("000007fff", "000007fff", "000007606", "000002000", "000000000", "000000000"),
        *("000000000", "0000000c0", "000000004", "00000000e", "00000017f", "800000fff"),
    ),
}

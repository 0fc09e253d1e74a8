"""Names that no receiver takes."""

_DEVICES = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "COM1", "COM9", "COM¹", "LPT1", "LPT²"]

HOSTILE_NAMES = [
    # What is not seen
    "a\u200b",
    "\ufeffa",
    "a\u3164b",
    "\u115f",
    "a\U000e0041",
    "a\u00a0",
    "\u2003",
    # What leads elsewhere
    "",
    ".",
    "..",
    "../x",
    "../../../../etc/cron.d/x",
    "x/..",
    "x/../../y",
    "a/b",
    "/",
    "/etc/passwd",
    "//host/share",
    "./x",
    "x/",
    "\\",
    "..\\x",
    "..\\..\\windows\\system32",
    "C:\\x",
    "\\\\host\\share",
    "x\\..\\y",
    # What a terminal, a shell or a system call takes as something else
    *(f"x{control}y" for control in map(chr, [*range(32), *range(127, 160)])),
    "\x1b[2J",
    "\x1b]0;title\x07",
    "x\ny",
    "\rall is well",
    "x\u2028y",
    "x\u2029y",
    "\udc80",
    "x\udcff",
    *(
        f"photo{mark}gpj.exe"
        for mark in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    ),
    # What other systems keep for something else
    *_DEVICES,
    *(device.lower() for device in _DEVICES),
    *(f"{device}.txt" for device in _DEVICES),
    *(f"{device} .tar.gz" for device in _DEVICES[:4]),
    "x.",
    "x ",
    "x...",
    "x. . ",
    "...",
    " ",
    # What the tools keep for themselves
    ".trio-p2p-x",
    ".TRIO-P2P-x.part",
    f".trio-p2p-{'0' * 32}.part",
    # What is too long
    "x" * 256,
    "é" * 128,
    "x" * 5000,
]

SENT_NAMES = [name.encode("utf-8", "surrogateescape") for name in HOSTILE_NAMES]
"""As a hostile side sends them: some are not UTF-8."""

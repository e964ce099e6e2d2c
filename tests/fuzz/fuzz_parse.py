"""Fuzz `parse`, guided by coverage: `python -m tests.fuzz.fuzz_parse --seconds 60`.

It starts from `tests/fuzz/seeds`. An input that breaks a promise of `tests/fuzz/properties.py` is printed as a Python
literal, and the exit code is then not 0; mend the code, and keep the input as a seed. `--keep FOLDER` keeps the inputs
found to be interesting. What is found out about coverage is that of the Python code; the parser in Rust is fuzzed too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

SEEDS = Path(__file__).parent / "seeds"
_LONGEST = 4096
_MOST_EVENTS = 50  # so that inputs of this length can hold too many

with atheris.instrument_imports(include=["sftpd_processor.events", "json"]):
    from tests.fuzz import properties


def one_input(data: bytes) -> None:
    """One run; raises when a promise is broken."""
    try:
        properties.check(data, _MOST_EVENTS)
    except BaseException:
        print(f"broken by {data!r}", file=sys.stderr, flush=True)
        raise


def main() -> None:
    """Fuzz for so many seconds, or for ever."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=int, default=60, help="0: until stopped")
    options.add_argument("--keep", type=Path, help="a folder for the inputs found")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        kept = given.keep or Path(temporary)
        kept.mkdir(exist_ok=True)
        limits = [f"-max_total_time={given.seconds}", f"-max_len={_LONGEST}", "-timeout=20", "-rss_limit_mb=1024"]
        files = [f"-artifact_prefix={temporary}/", str(kept), str(SEEDS)]
        words = [f"-dict={Path(__file__).parent / 'words.dict'}"]
        atheris.Setup([sys.argv[0], *limits, *words, *files], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The status page: what is wrong, the sources, and where to look further; one page without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import sftpd_processor
from sftpd_processor.http.readiness import SourceHealth, Wrong

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="15">
<title>{verdict} · sftpd-processor</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; }}
h2 {{ font-size: 1rem; margin-top: 2rem; }}
.verdict {{ border-left: .4rem solid {colour}; padding: .5rem 1rem; background: #8882; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid #8884; }}
th {{ font-weight: 600; }}
td:last-child {{ overflow-wrap: anywhere; padding-right: 0; }}
footer {{ margin-top: 2rem; opacity: .75; }}
@media (max-width: 40rem) {{ body {{ margin-top: 1rem; }} th, td {{ padding-right: .6rem; }} }}
</style>
</head>
<body>
<h1>sftpd-processor</h1>
<p class="verdict">{verdict}</p>
{wrong}<h2>Sources</h2>
<table>
<tr><th>source</th><th>last good poll (UTC)</th><th>now</th></tr>
{sources}
</table>
<h2>More</h2>
<p><a href="/readyz">/readyz</a> · <a href="/metrics">/metrics</a> · <a href="/healthz">/healthz</a> · \
<a href="/version">/version</a></p>
<footer>version {version} · looks again every 15 s</footer>
</body>
</html>
"""
_GOOD, _BAD = "#2e8b57", "#c0392b"


def page(wrong: Sequence[Wrong], sources: Mapping[str, SourceHealth]) -> str:
    """The whole page as HTML."""
    things = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
    return _PAGE.format(
        verdict=f"{things} wrong" if wrong else "All is well",
        colour=_BAD if wrong else _GOOD,
        wrong=f"<h2>What is wrong</h2>\n<table>\n{_rows(wrong)}\n</table>\n" if wrong else "",
        sources=_rows(_source(name, each) for name, each in sources.items()),
        version=escape(sftpd_processor.__version__),
    )


def _source(name: str, health: SourceHealth) -> tuple[str, str, str]:
    at = "none since the start" if health.last_good_poll is None else f"{health.last_good_poll:%Y-%m-%d %H:%M:%S}"
    if health.failure is not None:
        return name, at, health.failure.removeprefix(f"source {name}: ")
    return name, at, "works" if health.up else "no poll has ended yet"


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(
        f"<tr><th>{escape(head)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for head, *cells in rows
    )

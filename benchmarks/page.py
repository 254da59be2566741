"""Tables on a page of the documentation, between marks."""

from __future__ import annotations

from pathlib import Path


def write(name: str, block: str, path: Path, title: str = "Performance") -> None:
    """Put the block between the marks of that name, or at the end of the page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = path.read_text() if path.exists() else f"# {title}\n"
    marked = f"{begin}\n\n{block}\n{end}\n"
    if begin in page:
        before, _, rest = page.partition(begin)
        page = before + marked + rest.partition(f"{end}\n")[2]
    else:
        page += "\n" + marked
    path.write_text(page)

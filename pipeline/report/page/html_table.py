"""Tables as HTML: in the page, and an accuracy table as a file of its own. Names are text, whatever is in them."""

from functools import cache
from pathlib import Path

import jinja2

from pipeline.report.tables import accuracy
from pipeline.report.tables.names import RULE_NAMES, arrow

PARTS = Path(__file__).parent
"""Where templates, style and script are."""


@cache
def surroundings() -> jinja2.Environment:
    """What templates are filled in by: everything is escaped, and a name that is not there is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"arrow": arrow, "full_label": full_label}
    return made


def full_label(row: accuracy.Row) -> str:
    """A row's name that stands by itself, wherever sorting puts it: `MCC + Terra`."""
    return row.label if row.heads_block else f"{row.method} {row.label}"


def accuracy_html(table: accuracy.AccuracyTable) -> str:
    """A document with `table` and its caption, to open in a browser or to copy into a text."""
    rule = RULE_NAMES[table.selection]
    return surroundings().from_string(DOCUMENT).render(table=table, rule=rule)


DOCUMENT = """\
{% import "tables.html.j2" as tables %}
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ table.title }}</title></head>
<body>
{{ tables.accuracy(table, rule, "table") }}
<p>{{ table.caption }}</p>
</body>
</html>
"""

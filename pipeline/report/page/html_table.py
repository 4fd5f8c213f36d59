"""HTML templates, and an accuracy table as an HTML file of its own. Names are escaped, whatever they hold."""

from functools import cache
from pathlib import Path

import jinja2

from pipeline.report.tables import accuracy
from pipeline.report.tables.names import RULE_NAMES, arrow

PARTS = Path(__file__).parent
"""The folder of templates, style and script."""


@cache
def environment() -> jinja2.Environment:
    """Return what renders templates: everything is escaped, and an undefined name is an error."""
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
    """Return a row's name that can be understood wherever sorting puts the row: `MCC + Terra`."""
    return row.label if row.heads_block else f"{row.method} {row.label}"


def accuracy_html(table: accuracy.AccuracyTable) -> str:
    """Return a document with `table` and its caption, to open in a browser or to copy into a text."""
    rule = RULE_NAMES[table.selection]
    return environment().from_string(DOCUMENT).render(table=table, rule=rule)


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

"""Sections to one self-contained HTML page."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from foolscope import __version__
from foolscope.report.section import Chart, Section


def render_page(title: str, kind: str, sections: Sequence[Section]) -> str:
    """The page of some sections.

    Every text is escaped. The page's own policy (CSP) forbids it to load anything and to run any script but its own, so that a name
    made up by a stranger can do nothing in it.

    Args:
        title: of the page, and its first heading.
        kind: what sort of report it is, a line above the title.
        sections: in the order in which they appear.

    Returns:
        HTML.

    Example:
        >>> "&lt;b&gt;" in render_page("<b>", "Report", [Section("one", "One", "A finding.")])
        True
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("foolscope.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda figure: type(figure).__name__.lower()
    charted = any(isinstance(figure, Chart) for section in sections for figure in section.figures)
    # "</script" in a string of the script would end the element; "<\/script" is the same string.
    script = ((_libraries() if charted else "") + _source(environment, "page.js")).replace("</script", r"<\/script")
    return environment.get_template("page.html.jinja").render(
        title=title,
        report=kind,
        sections=sections,
        version=__version__,
        style=Markup(_source(environment, "page.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file and the libraries
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _source(environment: jinja2.Environment, name: str) -> str:
    loader: Any = environment.loader
    source: str = loader.get_source(environment, name)[0]
    return source


@functools.cache
def _libraries() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from Altair's companion package, in the version that Altair writes for."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return bundle + "\n"

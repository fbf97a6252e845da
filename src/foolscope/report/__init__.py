"""The report: results become `Section`s (plain data), sections become one self-contained HTML file."""

from foolscope.auditing.tiles import Shot, Tile
from foolscope.report.audit import audit_sections, render_audit
from foolscope.report.render import render_page
from foolscope.report.section import Section

__all__ = ["Section", "Shot", "Tile", "audit_sections", "render_audit", "render_page"]

"""`report.html`: one file that opens from the disk, the answer first, the trials behind every number."""

from ablate.report.html.page import render_html

__all__ = ["render_html"]

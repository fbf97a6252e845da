"""Interactive charts as Vega-Lite specifications, fed from plain records. Colours are set by the page's style sheet."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from foolscope.report.wording import NORMS, grey_levels, percent, short, unit

POINTS = 400  # of a curve; more cannot be told apart on a screen
TAIL = 0.02  # of a curve's fall, left out where it drags on
Z = 1.959963984540054  # of a 95 % interval
HEIGHT = 320  # pixels
SYMBOL, LETTER = 45, 7  # pixels that stand before a legend's label, and that a letter of it takes
AXIS = 70  # pixels left of the plot
TITLE = 42  # letters of an axis' title that a phone has room for
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"  # for measuring; the style sheet sets it


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share seen in n draws, in closed form: a band has hundreds of them.

    Example:
        >>> [round(end, 3) for end in wilson(0.8, 10)]
        [0.49, 0.943]
    """
    centre, half = share + Z * Z / (2 * n), Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def accuracy_at(curve: Mapping[str, Sequence[float]], eps: float) -> float | None:
    """Robust accuracy at eps: that of the last point of the curve at or below it, which bounds it from above."""
    below = [accuracy for at, accuracy in zip(curve["eps"], curve["robust_accuracy"], strict=True) if at <= eps]
    return below[-1] if below else None


def curve_points(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The robustness curve as rows `eps, accuracy, lower, upper` and texts for the tooltip, by rising eps.

    The curve starts at eps 0 with the clean accuracy and passes through the audited eps. It is cut where little more happens (the
    last `TAIL` of its fall, and never short of the audited eps) and thinned to `POINTS` rows.
    """
    eps, norm, bounds, n = record["eps"], record["norm"], record["bounds"], record["n"]
    known = dict(zip(record["curve"]["eps"], record["curve"]["robust_accuracy"], strict=True))
    known = {0.0: record["clean_accuracy"]} | known | {eps: record["robust_accuracy"]}
    pairs = sorted(known.items())
    first, final = pairs[0][1], pairs[-1][1]
    last = next(at for at, accuracy in pairs if accuracy <= final + TAIL * (first - final))
    end = 1.15 * max(last, 1.5 * eps)
    pairs = [pair for pair in pairs if pair[0] <= end]
    if len(pairs) > POINTS:
        keep = {round(i * (len(pairs) - 1) / (POINTS - 1)) for i in range(POINTS)}
        pairs = [pair for i, pair in enumerate(pairs) if i in keep or pair[0] == eps]
    rows = []
    for at, accuracy in pairs:
        lower, upper = wilson(accuracy, n)
        levels = f" ({at * 255:.2f}/255)" if grey_levels(norm, bounds) else ""
        rows.append(
            {
                "eps": at,
                "accuracy": accuracy,
                "lower": lower,
                "upper": upper,
                "eps_text": short(at) + levels,
                "accuracy_text": percent(accuracy),
                "interval_text": f"{percent(lower)} to {percent(upper)}",
            }
        )
    return rows


def curve_chart(record: Mapping[str, Any]) -> dict[str, Any]:
    """Robust accuracy against eps: a step line with its 95 % band, the clean accuracy and the audited eps marked, values on hover.

    Args:
        record: the audit's record; of it `eps, eps_text, norm, bounds, n, clean_accuracy, robust_accuracy, curve`.

    Returns:
        A Vega-Lite specification whose marks are named (`band`, `curve`, `clean`, `audited`, `reading`) for the style sheet.
    """
    import altair as alt

    rows = curve_points(record)
    ends = [rows[0]["eps"], *((a["eps"] + b["eps"]) / 2 for a, b in itertools.pairwise(rows)), rows[-1]["eps"]]
    rows = [row | {"from": left, "to": right} for row, left, right in zip(rows, ends, ends[1:], strict=False)]
    levels = grey_levels(record["norm"], record["bounds"]) and record["eps_text"].endswith("/255")
    data = alt.InlineData(values=rows)
    end = max(row["eps"] for row in rows)
    axis: dict[str, Any] = {"tickCount": 6, "grid": False}
    if levels:
        step = _round_step(end * 255 / 9)
        axis = {"grid": False, "values": [k * step / 255 for k in range(int(end * 255 / step + 1e-9) + 1)]}
        axis["labelExpr"] = "datum.value ? format(datum.value * 255, '.3~g') + '/255' : '0'"
    x = alt.X(
        "eps:Q",
        title=f"eps: {unit(record['norm'])} ({NORMS[record['norm']]})",
        axis=alt.Axis(**axis),
        scale=alt.Scale(domain=[0, end], nice=False),
    )
    y = alt.Y(
        "accuracy:Q",
        title="robust accuracy",
        axis=alt.Axis(format=".0%", tickCount=5),
        scale=alt.Scale(domain=[0, 1]),
    )
    tooltip = [
        alt.Tooltip("eps_text:N", title="eps"),
        alt.Tooltip("accuracy_text:N", title="robust accuracy"),
        alt.Tooltip("interval_text:N", title="95% interval"),
    ]
    base = alt.Chart(data).encode(x=x)
    band = base.mark_area(interpolate="step-after", opacity=0.22).encode(
        y=alt.Y("lower:Q", title="robust accuracy"), y2="upper:Q"
    )
    line = base.mark_line(interpolate="step-after", strokeWidth=2.5).encode(y=y)
    # Invisible columns, one a row, from midpoint to midpoint: the nearest reading answers anywhere above or below the line. (A selection
    # with nearest=True would do, but Vega-Lite 6.4 shows "undefined" in its tooltips.)
    near = alt.selection_point(name="near", on="pointerover", fields=["eps"], empty=False, clear="pointerout")
    columns = base.mark_rect(opacity=0).encode(
        x="from:Q", x2="to:Q", y=alt.value(0), y2=alt.value(HEIGHT), tooltip=tooltip
    )
    targets = columns.add_params(near)
    dot = base.mark_point(filled=True, size=70, opacity=1).encode(y=y).transform_filter(near)
    clean = _marker(alt, 0.0, record["clean_accuracy"], f"clean {percent(record['clean_accuracy'])}", end, x, y)
    text = f"eps {record['eps_text']}: {percent(record['robust_accuracy'])}"
    audited = _marker(alt, record["eps"], record["robust_accuracy"], text, end, x, y)
    rule = alt.Chart(alt.InlineData(values=[{"eps": record["eps"]}])).mark_rule(strokeDash=[4, 4]).encode(x=x)
    parts = {"band": band, "curve": line, "audited_rule": rule, "clean": clean[0], "clean_text": clean[1]}
    parts |= {"audited": audited[0], "audited_text": audited[1], "reading": dot, "target": targets}
    chart = alt.layer(*(part.properties(name=name) for name, part in parts.items()))
    return finished(chart)


def legend(names: Sequence[str], **style: Any) -> Any:
    """A legend above the chart, in as many columns as fit beside each other: on a phone often one."""
    import altair as alt

    room = SYMBOL + LETTER * max(map(len, names), default=0)
    # By the width of the page's column and not of the plot: that one is known only once the legend has its place.
    columns = alt.ExprRef(f"max(1, floor((containerSize()[0] - {AXIS}) / {room}))")
    return alt.Legend(title=None, orient="top", symbolOpacity=1, columns=columns, **style)


def finished(chart: Any, height: int = HEIGHT) -> dict[str, Any]:
    """A chart of ours as a Vega-Lite specification: as wide as the page, without a frame, texts in the page's sizes."""
    import altair as alt

    chart = chart.properties(width="container", height=height).configure_view(stroke=None)
    spec: dict[str, Any] = (
        chart.configure(font=FONT, background="transparent", aria=False)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", titlePadding=10)
        .configure_legend(labelFontSize=12, labelLimit=alt.ExprRef(f"containerSize()[0] - {AXIS}"))
        .to_dict()
    )
    spec["config"]["legend"]["layout"] = {"top": {"direction": "vertical"}}  # of two legends
    _wrap_titles(spec)
    return spec


def _wrap_titles(spec: Any) -> None:
    """Breaks the titles of axes that are wider than a phone, before the unit where that is enough."""
    for key, value in spec.items() if isinstance(spec, dict) else enumerate(spec):
        if key in ("x", "y") and isinstance(value, dict) and len(str(value.get("title", ""))) > TITLE:
            head, bracket, unit = str(value["title"]).partition(" (")
            parts = [head, f"({unit}"] if bracket and "(" not in head else [str(value["title"])]
            value["title"] = [line for part in parts for line in textwrap.wrap(part, TITLE)]
        elif isinstance(value, dict | list) and key not in ("datasets", "values"):
            _wrap_titles(value)


def _marker(alt: Any, eps: float, accuracy: float, text: str, end: float, x: Any, y: Any) -> tuple[Any, Any]:
    """A point of the curve and its label, on the side where there is room."""
    right = eps > 0.6 * end
    data = alt.InlineData(values=[{"eps": eps, "accuracy": accuracy, "label": text}])
    point = alt.Chart(data).mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y)
    label = alt.Chart(data).mark_text(
        align="right" if right else "left",
        dx=-10 if right else 10,
        dy=-14,
        fontSize=13,
        fontWeight=600,
    )
    return point, label.encode(x=x, y=y, text="label:N")


def _round_step(raw: float) -> float:
    """The 1, 2 or 5 times a power of ten nearest above `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= raw * (1 - 1e-9))

"""Numbers and norms in words, with a precision that says no more than was measured and never rounds to a lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal; only a true 0 or 1 is written as 0% or 100%.

    Example:
        >>> percent(0.4123), percent(0.9999), percent(0.0001), percent(1.0), percent(0.0)
        ('41.2%', 'over 99.9%', 'under 0.1%', '100%', '0%')
    """
    if not math.isfinite(fraction):
        return "–"
    if fraction in (0, 1):
        return f"{fraction:.0%}"
    if fraction < 0.0005:
        return "under 0.1%"
    if fraction >= 0.9995:
        return "over 99.9%"
    return f"{fraction:.1%}"


def count(number: float) -> str:
    """A whole number with separators: `1,797`."""
    return f"{number:,.0f}"


def plural(number: int, one: str, many: str = "") -> str:
    """A count and its noun.

    Example:
        >>> plural(1, "image"), plural(1797, "image"), plural(2, "class", "classes")
        ('1 image', '1,797 images', '2 classes')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(value: float | None) -> str:
    """A number in three significant digits, whole numbers whole; a dash where there is none.

    Example:
        >>> short(0.0213744), short(12345.6), short(3), short(1e-7), short(None)
        ('0.0214', '12,346', '3', '1.00e-07', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def either(value: object) -> str:
    """A measured value, be it a number, yes or no, a word or nothing.

    Example:
        >>> either(0.02), either(3.0), either(True), either(None), either("cpu")
        ('0.02', '3', 'yes', '–', 'cpu')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and 1e-4 <= abs(value) < 100:
        return f"{value:.3g}"
    return short(value) if value is None or isinstance(value, int | float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(0.42), duration(12.3), duration(245), duration(3720)
        ('0.42 s', '12.3 s', '4 min 05 s', '1 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def grey_levels(norm: str, bounds: Sequence[float] | None) -> bool:
    """Whether a distance can be said in 255ths: linf on images whose values span 1."""
    return norm == "linf" and bounds is not None and math.isclose(bounds[1] - bounds[0], 1.0)


def eps_label(eps: float, audited: str) -> str:
    """An eps in the manner in which the audited one was written: in 255ths or as a decimal.

    Example:
        >>> eps_label(4 / 255, "8/255"), eps_label(0.5 / 255, "2/255"), eps_label(0.2, "0.1")
        ('4/255', '0.5/255', '0.2')
    """
    return f"{eps * 255:.4g}/255" if audited.endswith("/255") else f"{eps:.4g}"


def distance(value: float | None, norm: str, bounds: Sequence[float] | None) -> str:
    """A distance in its norm, with grey levels beside it where they mean something.

    Example:
        >>> distance(0.0212, "linf", [0, 1]), distance(1.5, "l2", [0, 1]), distance(None, "l0", [0, 1])
        ('0.0212 (5.4/255)', '1.50', '–')
    """
    text = short(value)
    if value is not None and math.isfinite(value) and value > 0 and grey_levels(norm, bounds):
        text += f" ({value * 255:.1f}/255)" if value * 255 >= 0.05 else " (under 0.1/255)"
    return text


def allowance(eps: float, eps_text: str, norm: str, bounds: Sequence[float] | None) -> str:
    """What an attacker may do within eps, as the end of "an attacker who may …".

    Example:
        >>> allowance(8 / 255, "8/255", "linf", [0, 1])
        'change every pixel value by at most 8/255 (8 of 255 grey levels)'
    """
    if norm == "linf":
        levels = f" ({eps * 255:.3g} of 255 grey levels)" if grey_levels(norm, bounds) else ""
        return f"change every pixel value by at most {eps_text}{levels}"
    if norm == "l2":
        return f"change the image by at most {eps_text} in total (Euclidean length over all pixel values)"
    if norm == "l1":
        return f"change pixel values by at most {eps_text} when all changes are added up"
    return f"set at most {plural(round(eps), 'pixel value')} freely"


def unit(norm: str) -> str:
    """What a distance in this norm counts, in words."""
    return {
        "linf": "largest change of a pixel value",
        "l2": "Euclidean length of the change",
        "l1": "sum of all changes",
        "l0": "number of pixel values changed",
    }[norm]

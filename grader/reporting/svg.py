"""Figures of matplotlib as SVG that can stand in a page with a strict policy."""

from io import StringIO
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, fromstring, tostring

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_svg(figure: "Figure", key: str) -> str:
    """Return the figure as one SVG element without scripts, style sheets, style attributes, metadata and fonts.

    The same figure and key give the same text; with different keys no id occurs twice.
    """
    from matplotlib import rc_context  # takes half a second, and most commands draw nothing
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    drawn, metadata = StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        FigureCanvasSVG(figure).print_svg(drawn, metadata=metadata)
    (root,) = _simplify(fromstring(drawn.getvalue()))
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "font-family": "sans-serif"}  # a page sets its own
    return tostring(root, encoding="unicode")


def _simplify(element: Element) -> list[Element]:
    """Turn styles into attributes, and put what an element groups in its place where that is all it does."""
    tag, attributes = _name(element.tag), _select_attributes(element)
    children = [simple for child in element for simple in _simplify(child)]
    if tag == "style" or (tag == "defs" and not children):
        return []
    if tag == "g" and not attributes:
        return children
    simple = Element(tag, attributes)
    simple.text, simple.tail = element.text if tag == "text" else None, "\n"
    simple.extend(children)
    return [simple]


def _select_attributes(element: Element) -> dict[str, str]:
    """Return attributes and styles but fonts, which are the page's, names of groups and turns of text by nothing."""
    found = {_name(name): " ".join(value.split()) for name, value in element.attrib.items()}
    found |= dict(part.split(": ", 1) for part in found.pop("style", "").split("; ") if part)
    unused = {"g": "id", "text": "transform" if "rotate(-0 " in found.get("transform", "") else ""}
    return {name: value for name, value in found.items() if name not in ("font-family", unused.get(_name(element.tag)))}


def _name(qualified: str) -> str:
    return qualified.rpartition("}")[2]

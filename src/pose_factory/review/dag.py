"""The workflow's graphs, in colours that say what is fresh and what would run."""

import re
import subprocess
import textwrap
from html import escape
from pathlib import Path

from pose_factory import files
from pose_factory.errors import PoseFactoryError

FRESH, WOULD_RUN, RULE = ("#d7f0dc", "#2e8b4a"), ("#ffe8b8", "#c98a10"), ("#e1ecf6", "#3b76a8")  # fill, outline
INK, EDGE = "#2b3138", "#a9b2ba"
MAX_JOBS = 300  # dot draws these in 0.1 s, already 10,000 points wide; 5,000 jobs take it 43 s and 180,000 points
LABEL_WIDTH = 30  # characters

_NODE = re.compile(
    r'^\s*(?P<id>\d+)\[label = "(?P<label>.*)", color = "[^"]*", style="(?P<style>[^"]*)"\];$', re.MULTILINE
)
_EDGE = re.compile(r"^\s*\d+ -> \d+$", re.MULTILINE)


def job_graph(dot: str) -> str:
    """The DOT text of `snakemake --dag`, recoloured: fresh jobs green, those that would run amber, with a legend.

    Snakemake draws what needs no run dashed. A graph of more than MAX_JOBS jobs becomes one node with a sentence.
    Raises PoseFactoryError when the text is not such a graph.
    """
    nodes = _nodes(dot)
    fresh = sum("dashed" in node["style"] for node in nodes)
    legend = [(FRESH, f"{fresh} fresh"), (WOULD_RUN, f"{len(nodes) - fresh} would run")]
    if len(nodes) > MAX_JOBS:
        sentence = (
            f"{len(nodes)} jobs, {fresh} fresh and {len(nodes) - fresh} that would run, are too many to draw (the "
            f"limit is {MAX_JOBS}); the rule graph shows how they hang together."
        )
        return _graph([_node("0", _wrapped(sentence, 60), RULE)], [], [])
    return _graph(
        [_node(node["id"], _label(node), FRESH if "dashed" in node["style"] else WOULD_RUN) for node in nodes],
        _EDGE.findall(dot),
        legend,
    )


def rule_graph(dot: str) -> str:
    """The DOT text of `snakemake --rulegraph`, which knows nothing of freshness, in the same hand and one colour.

    Raises PoseFactoryError when the text is not such a graph.
    """
    return _graph([_node(node["id"], _label(node), RULE) for node in _nodes(dot)], _EDGE.findall(dot), [])


def render_svg(dot: str, path: str | Path) -> None:
    """Draw DOT text as SVG with Graphviz. Raises PoseFactoryError when that is not installed or rejects the text.

    Edges that others imply are left out: the last rule asks for everything, which would hide how the work flows.
    """
    with files.atomic(path) as temporary:
        temporary.write_text(_graphviz(["dot", "-Tsvg"], _graphviz(["tred"], dot, path), path))


def _graphviz(command: list[str], text: str, path: str | Path) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PoseFactoryError(
            f"Cannot draw {path}: Graphviz' {command[0]} is not installed; `apt-get install graphviz` or "
            "`conda install -c conda-forge graphviz` brings it."
        ) from error
    if done.returncode or not done.stdout:  # tred's status says nothing of bad text
        raise PoseFactoryError(f"Cannot draw {path}: Graphviz says '{done.stderr.strip()}'; check the DOT text.")
    return done.stdout


def _nodes(dot: str) -> list[dict[str, str]]:
    nodes = [match.groupdict() for match in _NODE.finditer(dot)]
    if not nodes:
        raise PoseFactoryError(
            f"No job in the graph that Snakemake printed ('{dot.strip()[:60]}'); pass what `snakemake --dag` prints."
        )
    return nodes


def _label(node: dict[str, str]) -> str:
    """Snakemake's label, the rule in bold over its wildcards, as one of Graphviz' HTML-like labels."""
    rule, *wildcards = node["label"].replace('\\"', '"').split("\\n")
    return "<br/>".join([f"<b>{_wrapped(rule, LABEL_WIDTH)}</b>", *(_wrapped(text, LABEL_WIDTH) for text in wildcards)])


def _wrapped(text: str, width: int) -> str:
    return "<br/>".join(map(escape, textwrap.wrap(text, width)))


def _node(identity: str, label: str, colours: tuple[str, str]) -> str:
    return f'{identity} [label=<{label}>, fillcolor="{colours[0]}", color="{colours[1]}"]'


def _graph(nodes: list[str], edges: list[str], legend: list[tuple[tuple[str, str], str]]) -> str:
    keys = "".join(
        f'<td bgcolor="{fill}" color="{outline}" border="1" style="rounded" cellpadding="5">{text}</td>'
        for (fill, outline), text in legend
    )
    title = f'label=<<table border="0" cellspacing="8"><tr>{keys}</tr></table>>, labelloc=t, ' if legend else ""
    font = f'fontname="Helvetica,Arial,sans-serif", fontcolor="{INK}"'
    lines = [
        f"graph [{title}{font}, fontsize=12, bgcolor=white, pad=0.3, nodesep=0.2, ranksep=0.4]",
        f'node [{font}, fontsize=11, shape=box, style="rounded,filled", penwidth=1.4, margin="0.14,0.08"]',
        f'edge [color="{EDGE}", penwidth=1.2, arrowsize=0.7]',
        *nodes,
        *(edge.strip() for edge in edges),
    ]
    return "digraph workflow {\n" + "\n".join(f"  {line}" for line in lines) + "\n}\n"

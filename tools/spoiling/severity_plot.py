"""The plot of a robustness: top-1 over the severity of each kind of damage."""

from collections.abc import Mapping, Sequence

from PIL import Image

from engine.canvas import COLOURS, INK, PALE, new_figure, pixels_of

SIZE = (10.0, 4.6)  # inches
MARKERS = "os^Dv<"


def plot_severities(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    severities: Sequence[int],
    clean: float,
    title: str,
) -> Image.Image:
    """Draw a panel for each group, and in it a line for each kind, from the videos as they are.

    matplotlib must be there.

    Args:
        groups: Kinds of damage by title, and by name the top-1 at each severity, percent.
        severities: Severities, ascending.
        clean: Top-1 without damage, percent.
        title: Title above the plot.
    """
    figure = new_figure(*SIZE)
    figure.suptitle(title, fontsize=10, parse_math=False)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (name, kinds) in zip(panels, groups.items(), strict=True):
        axes.axhline(clean, color=INK, linewidth=1, linestyle=":")
        for number, (kind, values) in enumerate(kinds.items()):
            style = {"color": COLOURS[number], "marker": MARKERS[number], "linewidth": 2}
            axes.plot([0, *severities], [clean, *values], label=kind, **style)
        axes.set_title(name, fontsize=10)
        axes.set_xticks([0, *severities], ["none", *map(str, severities)])
        axes.set_xlabel("severity")
        axes.grid(color=PALE)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, loc="lower left")
    panels[0].set_ylim(0, 102)
    panels[0].set_ylabel("top-1, %")
    return Image.fromarray(pixels_of(figure))

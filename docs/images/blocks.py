"""Draw blocks.png: rows of X in blocks, whose sums become a model."""

from pathlib import Path

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(4, 2.8))
for k, color in enumerate(("C0", "C1", "C2", "C3")):
    y = 3 - k
    ax.add_patch(plt.Rectangle((0, y), 1.6, 0.8, color=color, alpha=0.6))
    arrow = {"arrowstyle": "->", "color": color, "linewidth": 2}
    ax.annotate("", (3.0, 2.0), (1.7, y + 0.4), arrowprops=arrow)
ax.text(0.8, -0.5, "blocks of X", ha="center", fontsize=14)
ax.text(3.3, 1.85, "$\\sum$", fontsize=34, ha="center", va="center")
ax.annotate("", (4.4, 2.0), (3.7, 2.0), arrowprops={"arrowstyle": "->", "linewidth": 2})
ax.text(4.9, 2.0, "$W$", fontsize=24, ha="center", va="center")
ax.set(xlim=(-0.2, 5.4), ylim=(-0.9, 4))
ax.axis("off")
fig.savefig(Path(__file__).with_suffix(".png"), dpi=100)

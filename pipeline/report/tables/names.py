"""How tables, figures and messages spell tasks, rows, selection rules and differences."""

RULE_NAMES = {
    "last": "last iterate",
    "source": "source (best on held-out source images)",
    "unsupervised": "unsupervised (chosen without the target's labels)",
    "oracle": "oracle (chosen on the target's test labels)",
}
"""The selection rules in words. The oracle's name says that it uses the target's labels."""

AUGMENTATION_NAMES = {
    "none": "",
    "base": "base",
    "terra": "Terra",
    "lora": "LoRA",
    "lorweb": "LoRWeB",
    "lora_interp": "LoRA interpolation",
    "diffmorpher": "DiffMorpher",
}
"""The augmentations as tables print them."""


def augmentation_name(augmentation: str) -> str:
    """Return an augmentation as tables print it; an adapter that a suite names keeps its own name."""
    return AUGMENTATION_NAMES.get(augmentation, augmentation)


def rule_name(selection: str) -> str:
    """Return a selection rule as titles name it, without the explanation in brackets."""
    return RULE_NAMES[selection].split(" (")[0]


def row_name(method: str, augmentation: str) -> str:
    """Return the name of a row outside its table: `MCC`, `MCC + Terra`."""
    added = augmentation_name(augmentation)
    return f"{method} + {added}" if added else method


def arrow(task: str) -> str:
    """Return a task with a typographic arrow: `MN→MM`."""
    return task.replace("->", "→")


def signed(value: float, decimals: int = 1) -> str:
    """Format a difference with its sign."""
    return f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")  # adding 0.0 turns -0.0 into 0.0

"""A plug-in, and a suite with its method."""

from pathlib import Path

from pipeline.core.paths import ROOT

TEXT = '''"""A method for tests."""

from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method
from pipeline.classify.registry import method


@method("Mine")
class Mine(Method):
    """Mine (me)."""

    weight: float = 0.5
    rounds: int = 3

    def losses(self, step):
        return {"task": self.weight * cross_entropy(step.labelled.logits, step.labels)}
'''


def write_suite(folder: Path, methods: str) -> Path:
    text = (ROOT / "benchmarks" / "digits_smoke.yaml").read_text()
    text = text.replace("name: digits_smoke", "name: mine").replace("[none, base, terra]", "[none]")
    (folder / "mine.yaml").write_text(text.replace("[ERM, MCC]", methods))
    return folder / "mine.yaml"

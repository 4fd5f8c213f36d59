"""Stages one and two under dg: an adapter or morphs over all source domains, and images between them.

No parameter of these jobs names the held-out domain, so that tasks with the same source domains share them.
"""

from pipeline.config import DomainsParams
from pipeline.core.job import Job
from pipeline.planning.kinds.between import BetweenParams
from pipeline.planning.kinds.interpolate import InterpolateParams
from pipeline.planning.kinds.pair_loras import PairLorasParams
from pipeline.planning.kinds.t_predictor import TPredictorParams
from pipeline.planning.stages import AdapterJobs, Stages


def adapter_jobs(stages: Stages, name: str, sources: tuple[str, ...]) -> AdapterJobs:
    """Return the jobs of the adapter `name` over the source domains."""
    suite, spec, label = stages.suite, stages.adapter(name), "+".join(sources)
    predictor = TPredictorParams(
        domains=list(sources),
        t_dim=spec.t_dim,
        image_size=stages.card.image_size,
        settings=suite.t_predictor,
        threads=suite.threads,
    )
    data = {"data": stages.data}
    times = Job("t_predictor", predictor, data, f"t_predictor {label}, t of {spec.t_dim}")
    domains = DomainsParams(sources=list(sources), words=stages.words)
    finetune = stages.finetune(spec, f"{label} {name}", data | {"times": times}, domains=domains)
    from_sources = suite.generate.grid.start == "source"
    params = InterpolateParams(
        domains=domains,
        grid=suite.generate.grid,
        inversion=stages.inversion(inverted=from_sources),
        **stages.sampling(suite.generate.interpolated_guidance),
    )
    inputs = {"adapter": finetune, "times": times} | (data if from_sources else {})
    interpolated = Job("interpolate", params, inputs, f"interpolate {label} {name}")
    return AdapterJobs(finetune, {"interpolated": interpolated}, times=times)


def morph_jobs(stages: Stages, name: str, sources: tuple[str, ...]) -> AdapterJobs:
    """Return the jobs of the morphing method `name` over the source domains."""
    suite, label = stages.suite, "+".join(sources)
    settings = suite.generate.between
    loras_params = PairLorasParams(
        domains=DomainsParams(sources=list(sources), words=stages.words),
        base_model=stages.base_model,
        pairs=settings.pairs,
        prompt=suite.finetune.source_prompt,
        morph=settings.morph,
        threads=suite.threads,
    )
    loras = Job("pair_loras", loras_params, {"data": stages.data}, f"pair_loras {label}")
    own = {
        "method": name,
        "frames": settings.frames,
        "save_size": suite.generate.save_size,
        "image_format": suite.generate.image_format,
    }
    params = BetweenParams.model_validate(dict(loras_params) | own)
    between = Job("between", params, {"data": stages.data, "loras": loras}, f"between {label} {name}")
    return AdapterJobs(loras, {"interpolated": between})

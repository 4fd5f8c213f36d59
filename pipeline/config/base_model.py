"""How a suite names its base model."""

from typing import Any

from pydantic import Field, model_validator

from pipeline.config.base import Count, Strict, keyed_unless_default

NAMED_MODELS: dict[str, dict[str, Any]] = {
    "mini": {"resolution": 32},
    "sd15": {"resolution": 512},
    "sdxl": {"resolution": 1024, "vae": "madebyollin/sdxl-vae-fp16-fix"},
}
"""The base models that have short names, and the fields that each has unless a suite states others.

SDXL has the VAE that the authors of Terra took, because its own VAE overflows in fp16; `vae: null` chooses
its own.
"""


class BaseModelSpec(Strict):
    """The pretrained diffusion model, and the resolution at which it is used."""

    name: str = Field(
        description="`mini`, `sd15`, `sdxl`, the path of a diffusers folder, or a hub id (OWNER/NAME)"
    )
    resolution: Count = Field(
        default=32,
        description="height and width of images, in pixels; required unless the model has a short name, "
        "whose resolution is the default (32, 512 and 1,024)",
    )
    revision: str | None = Field(
        default=None,
        description="revision on the hub; null = the newest. For a folder it is a hash of the files, found "
        "by itself",
    )
    vae: str | None = keyed_unless_default(
        None, "folder or hub id of a VAE that replaces the model's own; null = the model's own"
    )
    vae_revision: str | None = keyed_unless_default(None, "revision of that VAE, as `revision`")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_named(cls, value: Any) -> Any:
        return NAMED_MODELS.get(str(value.get("name")), {}) | value if isinstance(value, dict) else value

    def require_resolution(self) -> None:
        """Raise ValueError if the model has no short name and its resolution is not stated."""
        if self.name not in NAMED_MODELS and "resolution" not in self.model_fields_set:
            raise ValueError(f"base_model {self.name!r}: state its resolution, such as resolution: 512")

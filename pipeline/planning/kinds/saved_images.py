"""What the kinds that make images share: how the images are saved, and how much disk they take."""

from pipeline.config import Count, ImageFormat, Strict, keyed_unless_default

BYTES_PER_PIXEL: dict[ImageFormat, float] = {"png": 1.5, "webp": 1.3}
"""About the bytes that a pixel takes, measured on photographs of 256 pixels; larger ones take fewer."""


class SavedImages(Strict):
    """The size and format of the images that a job saves."""

    save_size: Count | None = keyed_unless_default(None, "side of the saved images; null = as sampled")
    image_format: ImageFormat = keyed_unless_default("png", "format of the saved images")

    def file(self, number: int) -> str:
        """Return the file of image `number` within the artifact, such as images/000012.png."""
        return f"images/{number:06d}.{self.image_format}"

    def disk(self, images: int, resolution: int) -> float:
        """Return about the bytes of images that were sampled at `resolution` pixels."""
        side = self.save_size or resolution
        return BYTES_PER_PIXEL[self.image_format] * images * side**2

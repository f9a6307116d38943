"""Writes the generated parts of the documentation: `make docs`."""

from docs.generate.architecture import svg
from docs.generate.pages import PAGES, PICTURE, filled
from m3fm_kfp.components import readme


def main() -> None:
    """Write every generated table, the picture of the layers, and each component's README."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(svg(), encoding="utf-8")
    readme.main()


if __name__ == "__main__":
    main()

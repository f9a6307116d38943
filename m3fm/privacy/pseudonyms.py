"""The salt of a dataset: the secret that hashes of patients, exams and series cannot be guessed without.

It comes from the environment variable M3FM_SALT and goes nowhere but into hashes. What configurations, keys
of caches and logs hold is its fingerprint, which distinguishes two salts and gives neither away.
"""

import functools
import hashlib
import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

from m3fm.config.sections import SALT_VARIABLE, CurateConfig, RunConfig
from m3fm.core.artifacts import is_simulated
from m3fm.core.errors import InputError

OF_SIMULATED = "m3fm"
"""The salt without M3FM_SALT: it protects nobody, and is for simulated patients only."""
SHORTEST = 16
"""Characters of a salt for real patients."""
WITHOUT_TABLES = ("dicom",)
"""Kinds of sources that are for testing only."""


@dataclass(frozen=True, slots=True)
class Salt:
    """A secret, and what is made with it. It is not shown where the object is."""

    secret: str = field(repr=False)

    @classmethod
    def of_environment(cls) -> "Salt":
        """Return the salt of M3FM_SALT, or else the one for simulated patients."""
        return cls(os.environ.get(SALT_VARIABLE) or OF_SIMULATED)

    def hashed(self, kind: str, identifier: str) -> str:
        """Hash an identifier of a patient, exam, study or series, as a dataset holds it."""
        return hashlib.sha256(f"{self.secret}:{kind}:{identifier}".encode()).hexdigest()[:16]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits. Each guess at the salt costs a tenth of a second and 32 MB."""
        return _fingerprint(self.secret)


@functools.cache
def _fingerprint(secret: str) -> str:
    found = hashlib.scrypt(
        secret.encode(), salt=b"m3fm fingerprint", n=2**15, r=8, p=1, maxmem=2**26, dklen=8
    )
    return found.hex()


def check_source(kind: str, root: Path) -> None:
    """Refuse to hash the patients of a source without a salt of one's own, unless they are simulated.

    Of a plain folder of DICOM, which is for trying things out, the user is only warned.
    """
    if is_simulated(root):
        return
    try:
        check_salt()
    except InputError as error:
        reason = (
            f"{error}: {root} was not simulated by m3fm, and its patients could be guessed from their hashes"
        )
        if kind not in WITHOUT_TABLES:
            raise InputError(reason) from error
        print(f"m3fm: warning: {reason}", file=sys.stderr)


def check_salt() -> None:
    """Raise InputError unless the environment has a salt that is long enough for real patients."""
    salt = os.environ.get(SALT_VARIABLE, "")
    if len(salt) < SHORTEST:
        found = "is not set" if not salt else f"has fewer than {SHORTEST} characters"
        raise InputError(
            f"{SALT_VARIABLE} {found}; set it to a secret of your own, as `openssl rand -hex 32` makes one"
        )


def with_fingerprint(config: CurateConfig) -> CurateConfig:
    """Fill in the fingerprint of the environment's salt, unless the configuration names one."""
    if config.salt_fingerprint is not None:
        return config
    return config.model_copy(update={"salt_fingerprint": Salt.of_environment().fingerprint})


def with_salt(run: RunConfig) -> RunConfig:
    """Fill in the salt's fingerprint, so that the run's digest and its steps' keys distinguish salts."""
    return run.model_copy(update={"curate": with_fingerprint(run.curate)})


def check_fingerprint(expected: str | None) -> Salt:
    """Return the environment's salt; refuse one that a run was not configured with."""
    salt = Salt.of_environment()
    if expected is not None and not secrets.compare_digest(salt.fingerprint, expected):
        raise InputError(
            f"{SALT_VARIABLE} here is another one than where the run was configured (fingerprint"
            f" {salt.fingerprint}, not {expected}): set the same in both places"
        )
    return salt

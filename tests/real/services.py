"""A PostgreSQL that talks TLS; the servers that benchmarks start, too, are in benches/real/services.py."""

from __future__ import annotations

import os
import shutil
from typing import Any

from helpers.tls import CERTIFICATES, client_context

from benches.real.services import Postgres


class PostgresOverTls(Postgres):
    """It asks for TLS, and for a certificate of the tests' authority, by everybody who comes over TCP."""

    def settings(self) -> dict[str, str]:
        """PostgreSQL insists on a key of its own that nobody else can read."""
        for name in ("server.pem", "ca.pem"):
            file = self.folder / name
            shutil.copyfile(CERTIFICATES / name, file)
            file.chmod(0o600)
            if self.user:
                os.chown(file, self.user["user"], self.user["group"])
        who = ("local all all trust", "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca")
        (self.folder / "data" / "pg_hba.conf").write_text("\n".join(who))
        key, authority = str(self.folder / "server.pem"), str(self.folder / "ca.pem")
        tls = {"ssl": "on", "ssl_cert_file": key, "ssl_key_file": key, "ssl_ca_file": authority}
        return {**super().settings(), **tls}

    def address(self, kind: str) -> dict[str, Any]:
        """What asyncpg is told: `unix`, `tcp` or `tls`."""
        if kind != "tls":
            return super().address(kind)
        context = client_context()
        context.load_cert_chain(CERTIFICATES / "client.pem")
        return {**super().address("tcp"), "ssl": context}

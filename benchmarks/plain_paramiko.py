"""The script many people run from cron: fetch each file, look into it, write it, remove it. One of the peers.

python benchmarks/plain_paramiko.py HOST PORT USER KEY KNOWN_HOSTS REMOTE_FOLDER LOCAL_FOLDER
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import paramiko


def main(host: str, port: str, user: str, key: str, known_hosts: str, remote: str, local: str) -> None:
    """Drain the remote folder into the local one."""
    with paramiko.SSHClient() as ssh:
        ssh.load_host_keys(known_hosts)
        ssh.connect(host, int(port), user, key_filename=key, look_for_keys=False, allow_agent=False)
        with ssh.open_sftp() as sftp:
            sftp.chdir(remote)
            for name in sftp.listdir():
                body = io.BytesIO()
                sftp.getfo(name, body)
                json.loads(body.getvalue())
                Path(local, name).write_bytes(body.getvalue())
                sftp.remove(name)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A script of version 1: it knows nothing but files. docs/folder.md shows it."""

import json
import sys
import time
from pathlib import Path

folder, me, peer = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def send(to: str, kind: str, subject: str, body: str, reply_to: str = "") -> None:
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    message = {
        "id": f"{now}_{me}_{to}_{subject}",
        "from": me,
        "to": to,
        "type": kind,
        "priority": "high",
        "subject": subject,
        "body": body,
        "reply_to": reply_to,
    }
    (folder / "outbox" / f"{message['id']}.json").write_text(json.dumps(message))


send(peer, "task", "count", "how many words are these")
while True:
    for file in sorted((folder / "inbox").glob("*.json")):
        message = json.loads(file.read_text())
        if message["to"] == me:
            file.unlink()
            print(message["type"], message["from"], message["body"], flush=True)
            send(message["from"], "ack", "thanks", "got it", message["id"])
    time.sleep(0.1)
